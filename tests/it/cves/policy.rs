//! What went wrong in other registries, mirrors and gates, and does not here: a test for each case,
//! with its number in the name.
#![cfg(all(feature = "policy", feature = "config"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use portcullis::identity::Method;
use portcullis::oci::{Endpoint, Route, RouteError};
use portcullis::policy::{Actions, Caller, Pattern, Policy, RateClass, Rule, TagOracle, Who};
use portcullis::source::Networks;
use portcullis::{Principal, Refusal, Watched};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn route(method: &str, target: &str) -> Result<Route, RouteError> {
    let target = target.replace("$D", DIGEST);
    Route::parse(&method.parse().unwrap(), &target.parse().unwrap())
}

fn refusal(
    policy: &Policy,
    principal: Option<&Principal>,
    method: &str,
    target: &str,
) -> Option<Refusal> {
    let caller = Caller::new(principal, Some("192.0.2.1".parse().unwrap()));
    let route = route(method, target).unwrap();
    policy.decide(&caller, &route, None).refusal()
}

fn token(id: &str) -> Principal {
    Principal::new(Method::Token, id)
}

/// `token:ci` may do these on these.
fn ci(actions: Actions, pattern: &str) -> Rule {
    Rule::allow("ci", "token:ci".parse().unwrap(), actions)
        .on_repositories([Pattern::repository(pattern).unwrap()])
}

#[test]
fn cve_2020_29662_harbor_a_slash_at_the_end_does_not_open_the_catalog() {
    let policy = Policy::new([ci(Actions::ANY, "team/**")]).unwrap();
    for target in ["/v2/_catalog", "/v2/_catalog/", "/v2/_catalog/?n=1"] {
        assert_eq!(route("GET", target).unwrap().endpoint(), Endpoint::Catalog);
        let refused = refusal(&policy, Some(&token("ci")), "GET", target);
        assert_eq!(refused, Some(Refusal::PolicyDenied), "{target}");
    }
    assert_eq!(
        route("GET", "/v2/_catalog//"),
        Err(RouteError::NotCanonical)
    );
    assert_eq!(
        route("GET", "/v2/x/tags/list/"),
        Err(RouteError::UnknownEndpoint)
    );
}

#[test]
fn cve_2019_19030_and_cve_2020_13794_harbor_a_refusal_does_not_tell_what_exists() {
    let policy = Policy::new([ci(Actions::PULL, "team/there")]).unwrap();
    let eve = token("eve");
    for (caller, expected) in [
        (None, Refusal::PolicyNeedsCredentials),
        (Some(&eve), Refusal::PolicyDenied),
    ] {
        for target in [
            "/v2/team/there/manifests/x",
            "/v2/team/not/manifests/x",
            "/v2/team/there/blobs/$D",
            "/v2/no/blobs/$D",
        ] {
            assert_eq!(
                refusal(&policy, caller, "GET", target),
                Some(expected),
                "{target}"
            );
        }
    }
}

#[test]
fn cve_2022_46463_harbor_the_anonymous_have_nothing_that_no_rule_gives_them() {
    let policy = Policy::new([
        ci(Actions::ANY, "**"),
        Rule::allow("all", Who::Authenticated, Actions::ANY)
            .on_repositories([Pattern::repository("**").unwrap()]),
    ])
    .unwrap();
    let anonymous = Principal::anonymous();
    for caller in [None, Some(&anonymous)] {
        for target in [
            "/v2/a/manifests/x",
            "/v2/a/tags/list",
            "/v2/_catalog",
            "/v2/",
        ] {
            assert!(
                refusal(&policy, caller, "GET", target).is_some(),
                "{target}"
            );
        }
    }
}

#[test]
fn cve_2026_31801_zot_a_push_over_a_tag_needs_more_than_making_one_whatever_the_tag_is() {
    struct AllThere;
    impl TagOracle for AllThere {
        fn exists(&self, _: Option<&str>, _: &str, _: &str) -> Option<bool> {
            Some(true)
        }
    }
    let policy = Policy::new([ci(Actions::CREATE, "team/*")]).unwrap();
    let ci = token("ci");
    let caller = Caller::new(Some(&ci), None);
    for target in [
        "/v2/team/a/manifests/latest",
        "/v2/team/a/manifests/v1",
        "/v2/team/a/manifests/$D?tag=latest",
        "/v2/team/a/manifests/$D?tag=v1",
    ] {
        let route = route("PUT", target).unwrap();
        for oracle in [Some(&AllThere as &dyn TagOracle), None] {
            let verdict = policy.decide(&caller, &route, oracle);
            assert_eq!(verdict.refusal(), Some(Refusal::PolicyDenied), "{target}");
        }
    }
}

#[test]
fn cve_2024_39897_zot_a_mount_needs_pull_where_the_blob_comes_from() {
    let policy = Policy::new([ci(Actions::PULL | Actions::PUSH, "team/*")]).unwrap();
    let mounts = |query: &str| {
        let target = format!("/v2/team/a/blobs/uploads/?{query}");
        let ci = token("ci");
        let caller = Caller::new(Some(&ci), None);
        let verdict = policy.decide(&caller, &route("POST", &target).unwrap(), None);
        verdict.is_allowed() && !verdict.declines_mount()
    };
    assert!(mounts("mount=$D&from=team/b"));
    assert!(!mounts("mount=$D&from=secret/b"));
    // From wherever the registry finds it.
    assert!(!mounts("mount=$D"));
    let twice = route(
        "POST",
        "/v2/team/a/blobs/uploads/?mount=$D&from=team/b&from=secret/b",
    );
    assert_eq!(twice, Err(RouteError::Query));
}

#[test]
fn cve_2026_35172_distribution_and_cve_2025_23208_zot_what_was_taken_away_is_gone() {
    let watched = Watched::fixed(Policy::new([ci(Actions::PULL, "**")]).unwrap());
    let ask = || refusal(&watched.load(), Some(&token("ci")), "GET", "/v2/a/blobs/$D");
    assert_eq!(ask(), None);
    watched.publish(Policy::new([ci(Actions::PULL, "other")]).unwrap());
    assert_eq!(ask(), Some(Refusal::PolicyDenied));

    // Groups are those of this request, not those of an earlier one added to.
    let group = Rule::allow("group", Who::Group("team".into()), Actions::PULL)
        .on_repositories([Pattern::repository("**").unwrap()]);
    let policy = Policy::new([group]).unwrap();
    let member = token("alice").in_groups(["team"]);
    assert_eq!(
        refusal(&policy, Some(&member), "GET", "/v2/a/blobs/$D"),
        None
    );
    let left = member.in_groups(["other"]);
    assert!(refusal(&policy, Some(&left), "GET", "/v2/a/blobs/$D").is_some());
}

#[test]
fn cve_2026_41888_distribution_and_cve_2026_27771_gitea_every_endpoint_is_under_the_same_rules() {
    let policy = Policy::new([ci(Actions::ANY, "team/*")]).unwrap();
    let eve = token("eve");
    for (method, target) in [
        ("GET", "/v2/team/a/manifests/x"),
        ("HEAD", "/v2/team/a/manifests/$D"),
        ("GET", "/v2/team/a/blobs/$D"),
        ("HEAD", "/v2/team/a/blobs/$D"),
        ("GET", "/v2/team/a/tags/list"),
        ("GET", "/v2/team/a/referrers/$D"),
        ("GET", "/v2/_catalog"),
        ("POST", "/v2/team/a/blobs/uploads/"),
        ("POST", "/v2/team/a/blobs/uploads"),
        ("GET", "/v2/team/a/blobs/uploads/1"),
        ("PATCH", "/v2/team/a/blobs/uploads/1"),
        ("PUT", "/v2/team/a/blobs/uploads/1?digest=$D"),
        ("DELETE", "/v2/team/a/blobs/uploads/1"),
        ("PUT", "/v2/team/a/manifests/x"),
        ("PUT", "/v2/team/a/manifests/$D"),
        ("DELETE", "/v2/team/a/manifests/x"),
        ("DELETE", "/v2/team/a/manifests/$D"),
        ("DELETE", "/v2/team/a/blobs/$D"),
        ("GET", "/v2/_oci/ext/discover"),
        ("POST", "/v2/team/a/_x/c/m"),
        ("GET", "/v1/search"),
        ("OPTIONS", "/"),
    ] {
        for caller in [None, Some(&eve)] {
            assert!(
                refusal(&policy, caller, method, target).is_some(),
                "{method} {target}"
            );
        }
    }
}

#[test]
fn cve_2025_59353_dragonfly_a_certificate_of_the_ca_is_no_permission() {
    let policy = Policy::new([
        Rule::allow("nodes", "cert:node-1".parse().unwrap(), Actions::PULL)
            .on_repositories([Pattern::repository("**").unwrap()]),
    ])
    .unwrap();
    let node = |id: &str| Principal::new(Method::Certificate, id);
    let ask = |who: &Principal| refusal(&policy, Some(who), "GET", "/v2/a/manifests/x");
    assert_eq!(ask(&node("node-1")), None);
    assert_eq!(ask(&node("node-2")), Some(Refusal::PolicyDenied));
    // The same name, shown in another way, is another caller.
    assert_eq!(ask(&token("node-1")), Some(Refusal::PolicyDenied));
}

#[test]
fn cve_2026_45781_mcp_registry_what_cannot_be_told_is_refused() {
    let policy = Policy::new([ci(Actions::CREATE, "team/*")]).unwrap();
    let unknown = |_: Option<&str>, _: &str, _: &str| None;
    let ci = token("ci");
    let caller = Caller::new(Some(&ci), None);
    let push = route("PUT", "/v2/team/a/manifests/new").unwrap();
    let verdict = policy.decide(&caller, &push, Some(&unknown));
    assert_eq!(verdict.refusal(), Some(Refusal::PolicyDenied));
    // A caller of no known address is in no network that is allowed, and in each that is denied.
    let inside = || ["10.0.0.0/8".parse().unwrap()];
    let rule = |rule: Rule| {
        let rule = rule.on_repositories([Pattern::repository("**").unwrap()]);
        rule.in_networks(inside())
    };
    let allow = rule(Rule::allow("in", Who::Anyone, Actions::PULL));
    let pull = route("GET", "/v2/a/manifests/x").unwrap();
    let policy = Policy::new([allow]).unwrap();
    assert!(
        policy
            .decide(&Caller::new(Some(&ci), None), &pull, None)
            .refusal()
            .is_some()
    );
    let everybody = Rule::allow("all", Who::Anyone, Actions::PULL)
        .on_repositories([Pattern::repository("**").unwrap()]);
    let deny = rule(Rule::deny("out", Who::Anyone, Actions::PULL));
    let policy = Policy::new([everybody, deny]).unwrap();
    assert!(
        policy
            .decide(&Caller::new(Some(&ci), None), &pull, None)
            .refusal()
            .is_some()
    );
}

/// Spegel, Harbor and zot, without numbers: patterns that matched within a longer text.
#[test]
fn unanchored_patterns_of_spegel_harbor_and_zot_match_whole_texts_only() {
    let pattern = Pattern::repository("team/*").unwrap();
    for name in ["xteam/a", "team/a/b", "x/team/a", "team"] {
        assert!(!pattern.matches(name, None), "{name}");
    }
    let Who::Spiffe(spiffe) = "spiffe://example.org/*".parse().unwrap() else {
        panic!("not a SPIFFE pattern");
    };
    for uri in [
        "spiffe://example.org/a/b",
        "xspiffe://example.org/a",
        "spiffe://example.org.evil/a",
    ] {
        assert!(!spiffe.matches(uri, None), "{uri}");
    }
}

/// zot and Harbor, without numbers: which of two rules decides was a matter of chance.
#[test]
fn the_order_of_rules_changes_no_decision() {
    let allow = ci(Actions::PULL, "team/*");
    let deny = Rule::deny("not a", Who::Anyone, Actions::PULL)
        .on_repositories([Pattern::repository("team/a").unwrap()]);
    for rules in [[allow.clone(), deny.clone()], [deny, allow.clone()]] {
        let policy = Policy::new(rules).unwrap();
        for (target, allowed) in [
            ("/v2/team/a/blobs/$D", false),
            ("/v2/team/b/blobs/$D", true),
        ] {
            let refused = refusal(&policy, Some(&token("ci")), "GET", target);
            assert_eq!(refused.is_none(), allowed, "{target}");
        }
    }
    assert!(Policy::new([allow.clone(), allow]).is_err());
}

/// Kraken and zot, without numbers: methods and addresses that were never asked for anything.
#[test]
fn no_method_and_no_address_is_exempt() {
    let policy = Policy::new([ci(Actions::ANY, "team/*")]).unwrap();
    let loopback = Caller::new(None, Some("127.0.0.1".parse().unwrap()));
    let pull = route("GET", "/v2/team/a/blobs/$D").unwrap();
    assert!(policy.decide(&loopback, &pull, None).refusal().is_some());
    for method in ["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"] {
        assert_eq!(
            route(method, "/v2/team/a/blobs/$D"),
            Err(RouteError::Method(Endpoint::Blob)),
            "{method}"
        );
    }
    let inside = Networks::allow(["10.0.0.0/8".parse().unwrap()]);
    assert!(!inside.permits("127.0.0.1".parse().unwrap()));
    assert!(!inside.permits("::1".parse().unwrap()));
}

/// Spegel, without a number: settings that were empty meant that nothing was enforced.
#[test]
fn what_is_empty_is_an_error_or_allows_nothing() {
    assert!(Policy::from_toml("").is_err());
    assert!(!Networks::allow([]).permits("10.0.0.1".parse().unwrap()));
    let nobody: Result<Who, _> = "token:".parse();
    assert!(nobody.is_err());
    let rule = Rule::allow("x", Who::Anyone, Actions::PULL);
    let error = Policy::new([rule]).unwrap_err().to_string();
    assert!(error.contains("`repositories` is missing"), "{error}");
    let rule = Rule::deny("x", Who::Anyone, Actions::PROBE).with_rate_class(RateClass::new("x"));
    assert!(Policy::new([rule]).is_err());
}
