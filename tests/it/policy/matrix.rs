//! Every action against every request: a caller that lacks one thing which a request needs is refused.

use portcullis::oci::Route;
use portcullis::policy::{Actions, Caller, Pattern, Policy, Rule, TagOracle, Who};

use super::support::DIGEST;

/// What each request needs where no tag is known to be there or not. `-` is no route at all.
const NEEDED: &[(&str, &str, &[Actions])] = &[
    ("GET HEAD", "/v2/", &[Actions::PROBE]),
    ("GET HEAD", "/v2", &[Actions::PROBE]),
    ("GET HEAD", "/v2/a/manifests/t", &[Actions::PULL]),
    ("GET HEAD", "/v2/a/manifests/$D", &[Actions::PULL]),
    ("PUT", "/v2/a/manifests/$D", &[Actions::UPLOAD]),
    (
        "PUT",
        "/v2/a/manifests/t",
        &[Actions::CREATE, Actions::REPLACE],
    ),
    (
        "PUT",
        "/v2/a/manifests/t?tag=u",
        &[Actions::CREATE, Actions::REPLACE, Actions::MOVE],
    ),
    (
        "PUT",
        "/v2/a/manifests/$D?tag=u",
        &[Actions::CREATE, Actions::MOVE],
    ),
    ("DELETE", "/v2/a/manifests/t", &[Actions::UNTAG]),
    ("DELETE", "/v2/a/manifests/$D", &[Actions::ERASE]),
    ("GET HEAD", "/v2/a/blobs/$D", &[Actions::PULL]),
    ("DELETE", "/v2/a/blobs/$D", &[Actions::ERASE]),
    ("POST", "/v2/a/blobs/uploads/", &[Actions::UPLOAD]),
    ("POST", "/v2/a/blobs/uploads", &[Actions::UPLOAD]),
    ("POST", "/v2/a/blobs/uploads/?digest=$D", &[Actions::UPLOAD]),
    (
        "POST",
        "/v2/a/blobs/uploads/?mount=$D&from=b",
        &[Actions::UPLOAD, Actions::PULL],
    ),
    (
        "POST",
        "/v2/a/blobs/uploads/?mount=$D",
        &[Actions::UPLOAD, Actions::PULL],
    ),
    (
        "POST",
        "/v2/a/blobs/uploads/?from=b",
        &[Actions::UPLOAD, Actions::PULL],
    ),
    (
        "GET HEAD PATCH DELETE",
        "/v2/a/blobs/uploads/s",
        &[Actions::UPLOAD],
    ),
    ("PUT", "/v2/a/blobs/uploads/s?digest=$D", &[Actions::UPLOAD]),
    ("GET HEAD", "/v2/a/tags/list", &[Actions::LIST]),
    ("GET HEAD", "/v2/a/referrers/$D", &[Actions::PULL]),
    ("GET HEAD", "/v2/_catalog", &[Actions::CATALOG]),
    ("GET HEAD", "/v2/_catalog/", &[Actions::CATALOG]),
    (
        "GET HEAD POST PUT PATCH DELETE OPTIONS",
        "/v2/_x/y/z",
        &[Actions::EXTENSION],
    ),
    (
        "GET HEAD POST PUT PATCH DELETE OPTIONS",
        "/v2/a/_x/y/z",
        &[Actions::EXTENSION],
    ),
    (
        "GET HEAD POST PUT PATCH DELETE OPTIONS",
        "/healthz",
        &[Actions::OTHER],
    ),
];

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

const EACH: [Actions; 12] = [
    Actions::PROBE,
    Actions::PULL,
    Actions::UPLOAD,
    Actions::CREATE,
    Actions::REPLACE,
    Actions::MOVE,
    Actions::ERASE,
    Actions::UNTAG,
    Actions::LIST,
    Actions::CATALOG,
    Actions::EXTENSION,
    Actions::OTHER,
];

/// Queries that might make a request look like one that needs less.
const DISGUISES: [&str; 8] = [
    "",
    "ns=docker.io",
    "tag=u",
    "tag=u&tag=w",
    "digest=$D",
    "mount=$D",
    "from=b",
    "mount=$D&from=b",
];

fn parse(method: &str, target: &str) -> Option<Route> {
    let target = target.replace("$D", DIGEST);
    Route::parse(&method.parse().unwrap(), &target.parse().unwrap()).ok()
}

/// A policy that lets everybody do everything but this.
fn without(action: Actions) -> Policy {
    let deny = Rule::deny("not this", Who::Anyone, action);
    let deny = if [Actions::EXTENSION, Actions::OTHER].contains(&action) {
        deny.at_paths([Pattern::path("/**").unwrap()])
    } else if [Actions::PROBE, Actions::CATALOG].contains(&action) {
        deny
    } else {
        deny.on_repositories([Pattern::repository("**").unwrap()])
    };
    let everything = Rule::allow("all", Who::Anyone, Actions::ANY)
        .on_repositories([Pattern::repository("**").unwrap()])
        .at_paths([Pattern::path("/**").unwrap()]);
    Policy::new([everything, deny]).unwrap()
}

fn is_allowed(policy: &Policy, route: &Route, tags: Option<&dyn TagOracle>) -> bool {
    let verdict = policy.decide(&Caller::default(), route, tags);
    verdict.is_allowed() && !verdict.declines_mount()
}

#[test]
fn a_caller_that_may_do_all_but_one_thing_is_refused_exactly_what_needs_it() {
    for lacking in EACH {
        let policy = without(lacking);
        for (methods, target, needed) in NEEDED {
            for method in METHODS {
                let route = parse(method, target);
                if !methods.split(' ').any(|known| known == method) {
                    let outside = !target.starts_with("/v2") || target.contains("/_x/");
                    // The same path takes other methods in another line of the table.
                    let elsewhere = NEEDED.iter().any(|(methods, other, _)| {
                        other.split('?').next() == target.split('?').next()
                            && methods.split(' ').any(|known| known == method)
                    });
                    assert!(route.is_none() || elsewhere || outside, "{method} {target}");
                    continue;
                }
                let route = route.unwrap_or_else(|| panic!("{method} {target}"));
                assert_eq!(
                    is_allowed(&policy, &route, None),
                    !needed.contains(&lacking),
                    "{method} {target} without {lacking}"
                );
            }
        }
    }
}

/// A delete of `v1.0` by its digest, with a tag in the query that may be deleted, was one.
#[test]
fn nothing_in_a_query_makes_a_request_need_less() {
    for lacking in EACH {
        let policy = without(lacking);
        for (methods, target, needed) in NEEDED {
            let plain = target.split('?').next().unwrap();
            if plain != *target || !needed.contains(&lacking) {
                continue;
            }
            for method in methods.split(' ') {
                for query in DISGUISES {
                    let disguised = format!("{plain}?{query}");
                    let Some(route) = parse(method, &disguised) else {
                        continue;
                    };
                    // Tags in its query are what a manifest's push by digest is for.
                    let sets_tags = method == "PUT" && query.starts_with("tag");
                    assert!(
                        sets_tags || !is_allowed(&policy, &route, None),
                        "{method} {disguised} without {lacking}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_tag_in_the_query_of_a_delete_changes_nothing() {
    let repositories = || [Pattern::repository("**").unwrap()];
    let temporary = Rule::allow("temporary", Who::Anyone, Actions::DELETE)
        .on_repositories(repositories())
        .with_tags([Pattern::tag("tmp-*").unwrap()]);
    let delete =
        Rule::allow("delete", Who::Anyone, Actions::DELETE).on_repositories(repositories());
    let frozen = Rule::deny("frozen", Who::Anyone, Actions::DELETE)
        .on_repositories(repositories())
        .with_tags([Pattern::tag("v1.*").unwrap()]);
    let untag = Rule::allow("untag", Who::Anyone, Actions::UNTAG).on_repositories(repositories());
    for rules in [vec![temporary], vec![delete, frozen], vec![untag]] {
        let policy = Policy::new(rules).unwrap();
        for target in ["/v2/a/manifests/$D", "/v2/a/blobs/$D"] {
            for query in ["", "?tag=tmp-1", "?tag=tmp-1&tag=tmp-2"] {
                let route = parse("DELETE", &format!("{target}{query}"));
                let allowed = route.is_some_and(|route| is_allowed(&policy, &route, None));
                assert!(!allowed, "{target}{query} by {:?}", policy.rules());
            }
        }
    }
}
