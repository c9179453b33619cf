//! Which rule decides, and what a refused caller gets as an answer.

use portcullis::identity::Method;
use portcullis::policy::{Actions, Caller, Pattern, Policy, Rule, Who};
use portcullis::{Principal, Refusal};

use super::support::{ask, office, route, token};

/// The layer asks nothing of it, so it must be that every answer is yes.
#[test]
fn the_open_policy_allows_every_route_to_every_caller() {
    let policy = Policy::open();
    let ci = token("ci");
    for (method, target) in [
        ("GET", "/v2/"),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/_catalog/"),
        ("GET", "/v2/_oci/ext/discover"),
        ("GET", "/v2/team/app/_oci/ext/discover"),
        ("GET", "/v2/team/app/tags/list"),
        ("GET", "/v2/team/app/manifests/x"),
        ("GET", "/v2/a/manifests/x?ns=docker.io"),
        ("DELETE", "/v2/team/app/manifests/$D"),
        ("PUT", "/v2/team/app/manifests/$D?tag=x&tag=y"),
        ("GET", "/v2/team/app/blobs/$D"),
        ("GET", "/v2/team/app/referrers/$D"),
        ("POST", "/v2/team/app/blobs/uploads/?mount=$D&from=secret/b"),
        ("POST", "/v2/team/app/blobs/uploads/?mount=$D"),
        ("PATCH", "/v2/team/app/blobs/uploads/1"),
        ("GET", "/"),
        ("GET", "/healthz"),
        ("POST", "/a/b/"),
        ("OPTIONS", "/.well-known/x?y=z"),
    ] {
        let route = route(method, target);
        for principal in [None, Some(&ci)] {
            let caller = Caller::new(principal, None);
            let verdict = policy.decide(&caller, &route, None);
            assert_eq!(verdict.refusal(), None, "{method} {target}");
        }
    }
}

#[test]
fn only_what_a_rule_allows_is_allowed() {
    let policy = office();
    let denied = Err(Refusal::PolicyDenied);
    let ci = token("ci");
    let alice = token("alice");
    let reader = token("r").in_groups(["readers"]);
    let same_name = Principal::new(Method::Certificate, "ci");
    let inside = "10.1.2.3";
    for (who, from, method, target, expected) in [
        (&ci, inside, "GET", "/v2/team/app/manifests/x", Ok("ci")),
        (
            &ci,
            "::ffff:10.1.2.3",
            "GET",
            "/v2/team/app/manifests/x",
            Ok("ci"),
        ),
        (&ci, inside, "PUT", "/v2/team/app/manifests/x", Ok("ci")),
        (
            &ci,
            inside,
            "PATCH",
            "/v2/team/app/blobs/uploads/1",
            Ok("ci"),
        ),
        (&ci, inside, "DELETE", "/v2/team/app/manifests/x", denied),
        (&ci, inside, "GET", "/v2/team/app/tags/list", denied),
        (&ci, inside, "GET", "/v2/team/app/sub/manifests/x", denied),
        (&ci, inside, "GET", "/v2/teams/app/manifests/x", denied),
        (&ci, inside, "GET", "/v2/_catalog", denied),
        (&ci, inside, "GET", "/v2/_catalog/", denied),
        (&ci, "192.0.2.1", "GET", "/v2/team/app/manifests/x", denied),
        (&ci, inside, "PUT", "/v2/team/app/manifests/v1.0", denied),
        (
            &ci,
            inside,
            "PUT",
            "/v2/team/app/manifests/$D?tag=x&tag=v1.0",
            denied,
        ),
        (
            &ci,
            inside,
            "PUT",
            "/v2/team/app/manifests/$D?tag=x&tag=y",
            Ok("ci"),
        ),
        (&ci, inside, "GET", "/v2/team/app/manifests/v1.0", Ok("ci")),
        (
            &same_name,
            inside,
            "GET",
            "/v2/team/app/manifests/x",
            denied,
        ),
        (
            &alice,
            inside,
            "PUT",
            "/v2/home/alice/app/manifests/x",
            Ok("home"),
        ),
        (
            &alice,
            inside,
            "DELETE",
            "/v2/home/alice/app/manifests/x",
            Ok("home"),
        ),
        // A layer of `v1.0`, maybe.
        (
            &alice,
            inside,
            "DELETE",
            "/v2/home/alice/app/blobs/$D",
            denied,
        ),
        (&alice, inside, "PUT", "/v2/home/ci/app/manifests/x", denied),
        (
            &alice,
            inside,
            "PUT",
            "/v2/home/alice/manifests/x",
            Ok("home"),
        ),
        (
            &reader,
            inside,
            "GET",
            "/v2/team/a/b/referrers/$D",
            Ok("readers"),
        ),
        (&reader, inside, "GET", "/v2/_catalog", Ok("catalog")),
        (
            &reader,
            inside,
            "GET",
            "/v2/library/x/manifests/y",
            Ok("public"),
        ),
        (&reader, inside, "GET", "/v2/library/x/tags/list", denied),
        (&reader, inside, "GET", "/healthz", Ok("health")),
        (&reader, inside, "GET", "/healthz/", denied),
        (&reader, inside, "GET", "/metrics", denied),
    ] {
        // `home/alice/**` is what is below `home/alice`, not itself.
        let expected = if target == "/v2/home/alice/manifests/x" {
            denied
        } else {
            expected
        };
        let said = ask(&policy, Some(who), from, method, target);
        assert_eq!(
            said.as_deref(),
            expected.as_ref().copied(),
            "{who} {method} {target}"
        );
    }
}

#[test]
fn the_anonymous_are_asked_for_credentials_and_the_known_are_denied() {
    let policy = office();
    let anonymous = Principal::anonymous();
    for principal in [None, Some(&anonymous)] {
        let said = |method, target| ask(&policy, principal, "192.0.2.1", method, target);
        assert_eq!(said("GET", "/v2/library/x/blobs/$D").unwrap(), "public");
        for (method, target) in [
            ("GET", "/v2/team/app/manifests/x"),
            // Told alike whether a rule knows the name or not.
            ("GET", "/v2/nowhere/manifests/x"),
            ("GET", "/v2/_catalog"),
            ("GET", "/v2/"),
        ] {
            let refusal = said(method, target);
            assert_eq!(refusal, Err(Refusal::PolicyNeedsCredentials), "{target}");
        }
        // No caller may, so credentials would not help.
        assert_eq!(said("GET", "/metrics"), Err(Refusal::PolicyDenied));
        assert_eq!(
            said("PUT", "/v2/team/a/manifests/v1.0"),
            Err(Refusal::PolicyDenied)
        );
    }
}

#[test]
fn the_base_is_for_callers_that_may_do_anything_and_docker_is_made_to_log_in() {
    let policy = office();
    let ci = token("ci");
    assert_eq!(
        ask(&policy, Some(&ci), "10.0.0.1", "GET", "/v2/").unwrap(),
        "public"
    );
    let only_ci = Policy::new([
        Rule::allow("ci", "token:ci".parse().unwrap(), Actions::PULL)
            .on_repositories([Pattern::repository("**").unwrap()]),
    ])
    .unwrap();
    let said = |who: Option<&Principal>| ask(&only_ci, who, "10.0.0.1", "GET", "/v2/");
    assert_eq!(said(Some(&ci)).unwrap(), "ci");
    assert_eq!(said(Some(&token("eve"))), Err(Refusal::PolicyDenied));
    assert_eq!(said(None), Err(Refusal::PolicyNeedsCredentials));
    let public = Policy::new([Rule::allow("public", Who::Anyone, Actions::PULL)
        .on_repositories([Pattern::repository("**").unwrap()])])
    .unwrap();
    assert_eq!(
        ask(&public, None, "10.0.0.1", "GET", "/v2/").unwrap(),
        "public"
    );
}

#[test]
fn an_empty_policy_allows_nothing() {
    let policy = Policy::new([]).unwrap();
    let ci = token("ci");
    for target in [
        "/v2/",
        "/v2/a/manifests/x",
        "/v2/_catalog",
        "/",
        "/v2/_x/a/b",
    ] {
        for who in [None, Some(&ci)] {
            let said = ask(&policy, who, "10.0.0.1", "GET", target);
            assert_eq!(said, Err(Refusal::PolicyDenied), "{target}");
        }
    }
}

#[test]
fn a_mount_needs_pull_on_the_repository_it_reads_from() {
    let policy = office();
    let ci = token("ci");
    let said = |query: &str| {
        let target = format!("/v2/team/app/blobs/uploads/?{query}");
        ask(&policy, Some(&ci), "10.0.0.1", "POST", &target)
    };
    for (query, mounts) in [
        ("mount=$D&from=team/other", true),
        ("mount=$D&from=team%2Fother", true),
        ("mount=$D&from=library/x", true),
        ("mount=$D&from=secret/app", false),
        ("from=secret/app", false),
        ("from=secret/app&digest=$D", false),
        ("mount=$D", false),
    ] {
        // The upload that is left is allowed by the rule that lets the caller push.
        assert_eq!(said(query).unwrap(), "ci", "{query}");
        let route = route("POST", &format!("/v2/team/app/blobs/uploads/?{query}"));
        let caller = Caller::new(Some(&ci), Some("10.0.0.1".parse().unwrap()));
        let verdict = policy.decide(&caller, &route, None);
        assert_eq!(verdict.declines_mount(), !mounts, "{query}");
    }
}

#[test]
fn a_mount_where_the_caller_may_not_push_is_refused_whatever_it_mounts() {
    let policy = office();
    let ci = token("ci");
    for query in [
        "mount=$D&from=team/other",
        "mount=$D&from=secret/app",
        "mount=$D",
    ] {
        let target = format!("/v2/library/app/blobs/uploads/?{query}");
        let said = ask(&policy, Some(&ci), "10.0.0.1", "POST", &target);
        assert_eq!(said, Err(Refusal::PolicyDenied), "{query}");
        let said = ask(&policy, None, "10.0.0.1", "POST", &target);
        assert_eq!(said, Err(Refusal::PolicyNeedsCredentials), "{query}");
    }
}

/// What its parameters mean, only the extension knows, so that none of them can be taken off.
#[test]
fn an_extension_that_reads_from_a_repository_is_no_mount() {
    let policy = Policy::from_toml(
        r#"
        [[rules]]
        name = "extension"
        who = ["anyone"]
        actions = ["extension"]
        paths = ["/v2/**"]
        "#,
    )
    .unwrap();
    let said = |target: &str| ask(&policy, None, "10.0.0.1", "POST", target);
    assert!(said("/v2/_x/y/z").is_ok());
    assert!(said("/v2/_x/y/z?from=secret/app").is_err());
}

#[test]
fn an_extension_that_names_repositories_is_allowed_for_these_alone() {
    let policy = Policy::from_toml(
        r#"
        [[rules]]
        name = "search"
        who = ["anyone"]
        actions = ["pull", "extension"]
        repositories = ["team/*"]
        paths = ["/v2/**"]
        "#,
    )
    .unwrap();
    let said = |target: &str| ask(&policy, None, "10.0.0.1", "GET", target);
    assert!(said("/v2/team/app/_x/y/z").is_ok());
    assert!(said("/v2/other/app/_x/y/z").is_err());
    assert!(said("/v2/_x/y/z?from=other/app").is_err());
}

#[test]
fn an_explanation_says_that_the_mount_is_taken_off_and_why() {
    let policy = office();
    let ci = token("ci");
    let caller = Caller::new(Some(&ci), Some("10.0.0.1".parse().unwrap()));
    let route = route(
        "POST",
        "/v2/team/app/blobs/uploads/?mount=$D&from=secret/app",
    );
    let text = policy.explain(caller, &route, None).to_string();
    let mut lines = text.lines();
    let first = "allowed as an ordinary upload, without the mount";
    assert_eq!(lines.next(), Some(first), "{text}");
    let mount = "token:ci to pull secret/app: no rule allows it";
    assert!(lines.any(|line| line == mount), "{text}");
}

#[test]
fn a_caller_is_told_apart_by_how_it_showed_who_it_is() {
    let kinds = [
        ("token:ci", Method::Token),
        ("cert:ci", Method::Certificate),
        ("jwt:ci", Method::Jwt),
    ];
    for (who, _) in kinds {
        let rule = Rule::allow("x", who.parse().unwrap(), Actions::PULL)
            .on_repositories([Pattern::repository("**").unwrap()]);
        let policy = Policy::new([rule]).unwrap();
        for (caller, method) in kinds {
            let principal = Principal::new(method, "ci");
            let said = ask(
                &policy,
                Some(&principal),
                "10.0.0.1",
                "GET",
                "/v2/a/manifests/x",
            );
            assert_eq!(said.is_ok(), who == caller, "{who} {caller}");
        }
    }
}

#[test]
fn a_pattern_matches_a_segment_to_its_end() {
    for (pattern, tag, matches) in [
        ("*-rc", "1-rc", true),
        ("*-rc", "1-rc1", false),
        ("*-rc", "1-rc-rc", true),
        ("v*.0", "v1.0", true),
        ("v*.0", "v1.0.0", true),
        ("v*.0", "v1.0.1", false),
        ("*a*b", "xaybzb", true),
        ("*a*b", "xaybz", false),
        ("v*", "v1.0.1", true),
        ("v1.*", "v1", false),
    ] {
        let rule = Rule::allow("x", Who::Anyone, Actions::PULL)
            .on_repositories([Pattern::repository("a").unwrap()])
            .with_tags([Pattern::tag(pattern).unwrap()]);
        let policy = Policy::new([rule]).unwrap();
        let target = format!("/v2/a/manifests/{tag}");
        let said = ask(&policy, None, "10.0.0.1", "GET", &target);
        assert_eq!(said.is_ok(), matches, "{pattern} {tag}");
    }
}

/// An issuer may sign tokens for a subject without a name.
#[test]
fn an_id_that_is_no_part_of_a_name_opens_no_pattern() {
    let who = Who::Authenticated;
    let rule = Rule::allow("own", who, Actions::PULL)
        .on_repositories([Pattern::repository("home/{principal.id}*").unwrap()]);
    let policy = Policy::new([rule]).unwrap();
    for (id, allowed) in [("ci", true), ("", false), ("ci/", false), ("CI", false)] {
        let principal = Principal::new(Method::Jwt, id);
        let target = "/v2/home/ci-1/manifests/x";
        let said = ask(&policy, Some(&principal), "10.0.0.1", "GET", target);
        assert_eq!(said.is_ok(), allowed, "{id:?}");
    }
}

#[test]
fn a_pattern_that_nothing_canonical_matches_is_an_error() {
    for path in [
        "a/b", "", "/a b", "/a%2Fb", "/a;b", "/a?b", "/a#b", "/a\\b", "/a//b",
    ] {
        assert!(Pattern::path(path).is_err(), "{path:?}");
    }
    assert!(Pattern::path("/a/b").is_ok());
    for uri in ["", "a b", "a\tb", "\u{e9}"] {
        assert!(Pattern::uri(uri).is_err(), "{uri:?}");
    }
    assert!(Pattern::uri("ci@example.org").is_ok());
}

/// Of so many rules that they are looked up by the callers that they name, too.
#[test]
fn of_the_rules_that_allow_the_probe_the_first_is_named() {
    let rule = |number: usize, who: &str| {
        Rule::allow(number.to_string(), who.parse().unwrap(), Actions::PULL)
            .on_repositories([Pattern::repository(&format!("r{number}")).unwrap()])
    };
    let others = (1..20).map(|number| rule(number, &format!("token:other{number}")));
    let rules = [rule(0, "token:ci")].into_iter().chain(others);
    let policy = Policy::new(rules.chain([rule(20, "anyone")])).unwrap();
    let probe = route("GET", "/v2/");
    for (id, first) in [("ci", 0), ("other7", 7), ("nobody", 20)] {
        let caller = token(id);
        let verdict = policy.decide(&Caller::new(Some(&caller), None), &probe, None);
        assert_eq!(verdict.rule(), Some(first), "{id}");
    }
}

#[test]
fn a_mount_from_anywhere_needs_pull_on_everything() {
    let all = || [Pattern::repository("**").unwrap()];
    let ci = token("ci");
    let who: Who = "token:ci".parse().unwrap();
    let target = "/v2/a/blobs/uploads/?mount=$D";
    let everything = Rule::allow("all", who, Actions::PULL | Actions::PUSH).on_repositories(all());
    let policy = Policy::new([everything.clone()]).unwrap();
    assert!(ask(&policy, Some(&ci), "10.0.0.1", "POST", target).is_ok());
    let except = Rule::deny("not this", Who::Anyone, Actions::PULL)
        .on_repositories([Pattern::repository("secret/**").unwrap()]);
    let policy = Policy::new([everything, except]).unwrap();
    let caller = Caller::new(Some(&ci), None);
    let verdict = policy.decide(&caller, &route("POST", target), None);
    assert!(verdict.is_allowed() && verdict.declines_mount());
}

#[test]
fn upstream_registries_are_told_apart() {
    let policy = Policy::from_toml(
        r#"
        [[rules]]
        name = "hub"
        who = ["anyone"]
        actions = ["pull"]
        repositories = ["library/*"]
        registries = ["docker.io", "*.gcr.io"]
        "#,
    )
    .unwrap();
    let said = |query: &str| {
        let target = format!("/v2/library/x/manifests/y{query}");
        ask(&policy, None, "10.0.0.1", "GET", &target)
    };
    assert!(said("?ns=docker.io").is_ok());
    assert!(said("?ns=eu.gcr.io").is_ok());
    assert!(said("?ns=quay.io").is_err());
    assert!(said("?ns=gcr.io").is_err());
    assert!(said("").is_err());
}

/// The service behind may have a registry of its own for what names none, and 443 is no other port.
#[test]
fn a_deny_by_registry_is_about_every_request_that_may_go_there() {
    let policy = |denied: &str| {
        let text = format!(
            "[[rules]]\nname = \"all\"\nwho = [\"anyone\"]\nactions = [\"pull\"]\n\
             repositories = [\"**\"]\n\
             [[rules]]\nname = \"not there\"\neffect = \"deny\"\nwho = [\"anyone\"]\n\
             actions = [\"pull\"]\nrepositories = [\"**\"]\nregistries = [\"{denied}\"]\n"
        );
        Policy::from_toml(&text).unwrap()
    };
    for (denied, refused, allowed) in [
        (
            "internal",
            &["", "?ns=internal", "?ns=internal:443", "?ns=internal:5000"][..],
            &["?ns=internal.example", "?ns=docker.io"][..],
        ),
        (
            "internal:443",
            &["", "?ns=internal", "?ns=internal:443"],
            &["?ns=internal:5000", "?ns=external"],
        ),
        (
            "internal:5000",
            &["", "?ns=internal:5000"],
            &["?ns=internal", "?ns=internal:443"],
        ),
        (
            "internal:*",
            &["", "?ns=internal", "?ns=internal:5000"],
            &["?ns=other:5000"],
        ),
        ("*.corp", &["?ns=a.corp", "?ns=a.corp:8080"], &["?ns=corp"]),
        (
            "[2001:db8::1]",
            &["?ns=[2001:db8::1]", "?ns=[2001:db8::1]:443"],
            &["?ns=[2001:db8::2]"],
        ),
        (
            "[2001:db8::1]:443",
            &["", "?ns=[2001:db8::1]", "?ns=[2001:db8::1]:443"],
            &["?ns=[2001:db8::1]:5000", "?ns=[2001:db8::2]"],
        ),
    ] {
        let policy = policy(denied);
        let said = |query: &str| {
            let target = format!("/v2/library/x/manifests/y{query}");
            ask(&policy, None, "10.0.0.1", "GET", &target)
        };
        for query in refused {
            assert_eq!(said(query), Err(Refusal::PolicyDenied), "{denied} {query}");
        }
        for query in allowed {
            assert!(said(query).is_ok(), "{denied} {query}");
        }
    }
}

#[test]
fn a_rule_for_a_mapped_network_is_about_the_ipv4_network() {
    for (deny, network) in [
        (true, "::ffff:10.0.0.0/104"),
        (false, "::ffff:192.0.2.0/120"),
    ] {
        let all = || [Pattern::repository("**").unwrap()];
        let networks = [network.parse().unwrap()];
        let rules = if deny {
            let everybody = Rule::allow("all", Who::Anyone, Actions::PULL).on_repositories(all());
            let inside = Rule::deny("inside", Who::Anyone, Actions::PULL).on_repositories(all());
            vec![everybody, inside.in_networks(networks)]
        } else {
            let some = Rule::allow("some", Who::Anyone, Actions::PULL).on_repositories(all());
            vec![some.in_networks(networks)]
        };
        let policy = Policy::new(rules).unwrap();
        for (from, allowed) in [
            ("10.1.2.3", false),
            ("::ffff:10.1.2.3", false),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
        ] {
            let said = ask(&policy, None, from, "GET", "/v2/a/manifests/x");
            assert_eq!(said.is_ok(), allowed, "{network} {from}");
        }
    }
}

#[test]
fn the_anonymous_are_asked_for_credentials_where_only_they_are_denied() {
    let all = || [Pattern::repository("**").unwrap()];
    let secret = || [Pattern::repository("secret/**").unwrap()];
    let everybody = || Rule::allow("all", Who::Anyone, Actions::PULL).on_repositories(all());
    let nameless =
        || Rule::deny("nameless", Who::Anonymous, Actions::PULL).on_repositories(secret());
    let policy = Policy::new([everybody(), nameless()]).unwrap();
    let alice = token("alice");
    let said = |policy: &Policy, who: Option<&Principal>, target: &str| {
        ask(policy, who, "10.0.0.1", "GET", target).map(drop)
    };
    let needed = Err(Refusal::PolicyNeedsCredentials);
    assert_eq!(said(&policy, None, "/v2/secret/a/manifests/x"), needed);
    assert_eq!(
        said(&policy, Some(&alice), "/v2/secret/a/manifests/x"),
        Ok(())
    );
    assert_eq!(said(&policy, None, "/v2/a/manifests/x"), Ok(()));
    // Docker sends no credentials after a 200 here.
    assert_eq!(said(&policy, None, "/v2/"), needed);
    assert_eq!(said(&policy, Some(&alice), "/v2/"), Ok(()));
    // Credentials would not help where no caller may, whichever rule comes first.
    let nobody = || Rule::deny("nobody", Who::Anyone, Actions::PULL).on_repositories(secret());
    for rules in [
        [everybody(), nameless(), nobody()],
        [everybody(), nobody(), nameless()],
    ] {
        let policy = Policy::new(rules).unwrap();
        let denied = Err(Refusal::PolicyDenied);
        assert_eq!(said(&policy, None, "/v2/secret/a/manifests/x"), denied);
    }
}
