//! Making, changing and removing tags.

use portcullis::policy::{Actions, Caller, Pattern, Policy, Rule, TagOracle, Who};

use super::support::{ask, route};

/// Knows one tag.
struct One;

impl TagOracle for One {
    fn exists(&self, _: Option<&str>, _: &str, tag: &str) -> Option<bool> {
        (tag != "unknown").then_some(tag == "there")
    }
}

#[test]
fn making_replacing_and_moving_a_tag_are_different_actions() {
    let allowed = |actions: Actions, target: &str, oracle: Option<&dyn TagOracle>| {
        let rule = Rule::allow("x", Who::Anyone, actions)
            .on_repositories([Pattern::repository("a").unwrap()]);
        let policy = Policy::new([rule]).unwrap();
        let method = if target.contains("uploads") {
            "POST"
        } else {
            "PUT"
        };
        policy
            .decide(&Caller::default(), &route(method, target), oracle)
            .is_allowed()
    };
    let (new, there) = ("/v2/a/manifests/new", "/v2/a/manifests/there");
    let moved = "/v2/a/manifests/$D?tag=there";
    let (create, replace, shift) = (Actions::CREATE, Actions::REPLACE, Actions::MOVE);
    for (actions, target, expected) in [
        (create, new, true),
        (create, there, false),
        (create, moved, false),
        (create, "/v2/a/manifests/$D?tag=new", true),
        (create, "/v2/a/manifests/$D?tag=new&tag=there", false),
        (replace, new, false),
        (replace, there, true),
        (replace, moved, false),
        (shift, moved, true),
        (shift, there, false),
        (create | shift, "/v2/a/manifests/$D?tag=new&tag=there", true),
        (Actions::PUSH, there, true),
        (create, "/v2/a/manifests/unknown", false),
        (create | replace, "/v2/a/manifests/unknown", true),
        // What comes with setting a tag.
        (create, "/v2/a/blobs/uploads/", true),
        (replace, "/v2/a/manifests/$D", true),
        (Actions::PULL, "/v2/a/manifests/$D", false),
    ] {
        assert_eq!(
            allowed(actions, target, Some(&One)),
            expected,
            "{actions} {target}"
        );
    }
    assert!(
        !allowed(create, new, None),
        "without an oracle a tag may be there"
    );
    assert!(allowed(Actions::PUSH, new, None));
    // A closure is an oracle too.
    let knows = |known: Option<bool>| move |_: Option<&str>, _: &str, _: &str| known;
    for (actions, [fresh, taken, unknown]) in [
        (create, [true, false, false]),
        (replace, [false, true, false]),
        (create | replace, [true; 3]),
    ] {
        for (known, expected) in [(Some(false), fresh), (Some(true), taken), (None, unknown)] {
            let said = allowed(actions, new, Some(&knows(known)));
            assert_eq!(said, expected, "{actions} {known:?}");
        }
    }
}

#[test]
fn a_tag_and_a_digest_are_deleted_by_different_permissions() {
    let untag = Rule::allow("untag", Who::Anyone, Actions::UNTAG)
        .on_repositories([Pattern::repository("a").unwrap()]);
    let temporary = Rule::allow("temporary", Who::Anyone, Actions::DELETE)
        .on_repositories([Pattern::repository("b").unwrap()])
        .with_tags([Pattern::tag("tmp-*").unwrap()]);
    let whole = Rule::allow("whole", Who::Anyone, Actions::DELETE)
        .on_repositories(["c", "d"].map(|name| Pattern::repository(name).unwrap()));
    let frozen = Rule::deny("frozen", Who::Anyone, Actions::DELETE)
        .on_repositories([Pattern::repository("d").unwrap()])
        .with_tags([Pattern::tag("v1.*").unwrap()]);
    let policy = Policy::new([untag, temporary, whole, frozen]).unwrap();
    for (target, allowed) in [
        ("/v2/a/manifests/x", true),
        ("/v2/a/manifests/$D", false),
        ("/v2/a/blobs/$D", false),
        ("/v2/b/manifests/tmp-1", true),
        ("/v2/b/manifests/latest", false),
        // Would take every tag of the manifest with it.
        ("/v2/b/manifests/$D", false),
        // Would take a layer from whichever tags need it.
        ("/v2/b/blobs/$D", false),
        ("/v2/c/manifests/$D", true),
        ("/v2/c/blobs/$D", true),
        ("/v2/d/manifests/tmp-1", true),
        ("/v2/d/manifests/v1.0", false),
        ("/v2/d/manifests/$D", false),
        ("/v2/d/blobs/$D", false),
    ] {
        let said = ask(&policy, None, "10.0.0.1", "DELETE", target);
        assert_eq!(said.is_ok(), allowed, "{target}");
    }
}
