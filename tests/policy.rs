//! Who may do what: rules, their decisions, and what a client and an operator are told of them.
#![cfg(feature = "config")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests and their tables"
)]

mod captured;

use std::convert::Infallible;
use std::net::IpAddr;

use bytes::Bytes;
use captured::Captured;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::audit::AccessLogLayer;
use portcullis::identity::Method;
use portcullis::oci::Route;
use portcullis::policy::{
    Actions, Caller, Doubt, Mismatch, Pattern, Policy, PolicyFile, PolicyLayer, RateClass, Rule,
    TagOracle, Who,
};
use portcullis::reload::WatchOptions;
use portcullis::{ClientAddr, PeerIdentity, Preset, Principal, Refusal, Responder, Watched};
use proptest::prelude::*;
use tower::{Service, ServiceBuilder, ServiceExt};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const OFFICE: &str = r#"
[[rules]]
name = "public"
who = ["anyone"]
actions = ["pull"]
repositories = ["library/**"]

[[rules]]
name = "home"
who = ["authenticated"]
actions = ["any"]
repositories = ["home/{principal.id}/**"]

[[rules]]
name = "ci"
who = ["token:ci"]
networks = ["10.0.0.0/8"]
actions = ["pull", "push"]
repositories = ["team/*"]

[[rules]]
name = "readers"
who = ["group:readers", "spiffe://example.org/ns/*/sa/reader"]
actions = ["pull", "list"]
repositories = ["team/**"]

[[rules]]
name = "catalog"
who = ["group:readers"]
actions = ["catalog"]

[[rules]]
name = "frozen"
effect = "deny"
who = ["anyone"]
actions = ["push", "delete"]
repositories = ["**"]
tags = ["v1.*"]

[[rules]]
name = "health"
who = ["anyone"]
actions = ["other"]
paths = ["/healthz"]
"#;

fn office() -> Policy {
    Policy::from_toml(OFFICE).unwrap()
}

fn route(method: &str, target: &str) -> Route {
    let target = target.replace("$D", DIGEST);
    Route::parse(&method.parse().unwrap(), &target.parse().unwrap()).unwrap()
}

fn token(id: &str) -> Principal {
    Principal::new(Method::Token, id)
}

/// `Ok` with the rule's name, or the refusal.
fn ask(
    policy: &Policy,
    principal: Option<&Principal>,
    address: &str,
    method: &str,
    target: &str,
) -> Result<String, Refusal> {
    let address: IpAddr = address.parse().unwrap();
    let caller = Caller::new(principal, Some(address));
    let verdict = policy.decide(&caller, &route(method, target), None);
    match verdict.refusal() {
        Some(refusal) => Err(refusal),
        None => Ok(policy.rule_of(&verdict).unwrap().name().to_owned()),
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
            "/v2/home/alice/app/blobs/$D",
            Ok("home"),
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
        // Nobody may, so credentials would not help.
        assert_eq!(said("GET", "/metrics"), Err(Refusal::PolicyDenied));
        assert_eq!(
            said("PUT", "/v2/team/a/manifests/v1.0"),
            Err(Refusal::PolicyDenied)
        );
    }
}

#[test]
fn the_base_is_for_whoever_may_do_anything_and_docker_is_made_to_log_in() {
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
    assert_eq!(said("mount=$D&from=team/other").unwrap(), "ci");
    assert_eq!(said("mount=$D&from=team%2Fother").unwrap(), "ci");
    assert_eq!(said("mount=$D&from=library/x").unwrap(), "ci");
    assert_eq!(said("mount=$D&from=secret/app"), Err(Refusal::PolicyDenied));
    assert_eq!(said("from=secret/app"), Err(Refusal::PolicyDenied));
    assert_eq!(said("mount=$D"), Err(Refusal::PolicyDenied));
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
    let said = ask(&policy, Some(&ci), "10.0.0.1", "POST", target);
    assert_eq!(said, Err(Refusal::PolicyDenied));
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

#[test]
fn certificates_are_matched_by_their_names() {
    let mut params =
        rcgen::CertificateParams::new(vec!["n1.nodes.example.org".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "n1");
    let id = "spiffe://example.org/ns/prod/sa/reader";
    params
        .subject_alt_names
        .push(rcgen::SanType::URI(id.try_into().unwrap()));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let peer = PeerIdentity::from_der(certificate.der()).unwrap();
    let fingerprint = peer.fingerprint().map(|byte| format!("{byte:02X}"));
    let fingerprint = fingerprint.join(":");
    let node = Principal::from_peer(peer);
    for (who, included) in [
        ("spiffe://example.org/ns/*/sa/reader", true),
        ("spiffe://example.org/ns/prod/**", true),
        ("spiffe://example.org/**", true),
        // Full matches only.
        ("spiffe://example.org/ns/prod/sa/read", false),
        ("spiffe://example.org/ns/prod", false),
        ("spiffe://example.org/ns/*/reader", false),
        ("spiffe://example.com/**", false),
        ("dns:*.nodes.example.org", true),
        ("dns:*.example.org", false),
        ("dns:nodes.example.org", false),
        ("subject:CN=n1", true),
        ("subject:CN=n", false),
        ("issuer:CN=n1", true),
        (&format!("fingerprint:{fingerprint}"), true),
        (&format!("fingerprint:{}", "0".repeat(64)), false),
        ("uri:https://**", false),
        ("email:*@example.org", false),
        ("cert:spiffe://example.org/ns/prod/sa/reader", true),
        ("token:spiffe://example.org/ns/prod/sa/reader", false),
        ("authenticated", true),
        ("anonymous", false),
    ] {
        let who: Who = who.parse().unwrap();
        assert_eq!(who.includes(Some(&node)), included, "{who}");
        assert_eq!(who.to_string().parse::<Who>().unwrap(), who);
    }
}

#[test]
fn a_name_that_names_nobody_is_an_error() {
    for text in [
        "",
        "*",
        "everyone",
        "ci",
        "token:",
        "group: ",
        "spiffe://",
        "spiffe://*/x",
        "spiffe:x",
        "fingerprint:ab",
        "dns:a..b",
        "dns:",
        "user:ci",
    ] {
        assert!(text.parse::<Who>().is_err(), "{text}");
    }
}

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
}

#[test]
fn a_tag_and_a_digest_are_deleted_by_different_permissions() {
    let untag = Rule::allow("untag", Who::Anyone, Actions::UNTAG)
        .on_repositories([Pattern::repository("a").unwrap()]);
    let temporary = Rule::allow("temporary", Who::Anyone, Actions::DELETE)
        .on_repositories([Pattern::repository("b").unwrap()])
        .with_tags([Pattern::tag("tmp-*").unwrap()]);
    let policy = Policy::new([untag, temporary]).unwrap();
    for (target, allowed) in [
        ("/v2/a/manifests/x", true),
        ("/v2/a/manifests/$D", false),
        ("/v2/a/blobs/$D", false),
        ("/v2/b/manifests/tmp-1", true),
        ("/v2/b/manifests/latest", false),
        // Would take every tag of the manifest with it.
        ("/v2/b/manifests/$D", false),
        ("/v2/b/blobs/$D", true),
    ] {
        let said = ask(&policy, None, "10.0.0.1", "DELETE", target);
        assert_eq!(said.is_ok(), allowed, "{target}");
    }
}

#[test]
fn an_error_in_the_file_has_its_place() {
    for (text, expected) in [
        (
            "rule = []",
            "policy:1:1: rule: unknown field `rule`, expected `rules`",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = [\"anyone\", \"root\"]\nactions = [\"pull\"]\n",
            "policy:3:7: rules[0].who[1]: \"root\" is nobody",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"read\"]\n",
            "policy:4:11: rules[0].actions[0]: \"read\" is no action",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"pull\"]\nrepositories = [\"Team/*\"]\n",
            "policy:5:16: rules[0].repositories[0]: \"Team/*\" matches no repository name",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"pull\"]\nrepos = [\"a\"]\n",
            "policy:5:1: rules[0].repos: unknown field `repos`",
        ),
        (
            "\n[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"pull\"]\n",
            "policy:2:1: rules[0]: `repositories` is missing",
        ),
        (
            "[[rules]]\nname = \"x\"\nwho = []\nactions = [\"probe\"]\n",
            "policy:1:1: rules[0]: `who` is empty",
        ),
        (
            "[[rules]]\nname = \"x\"\neffect = \"maybe\"\nwho = [\"anyone\"]\nactions = [\"probe\"]\n",
            "policy:3:10: rules[0].effect: unknown variant `maybe`, expected `allow` or `deny`",
        ),
        ("[[rules]\n", "policy:1:9: "),
        ("", "policy:1:1: missing field `rules`"),
    ] {
        let error = Policy::from_toml(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
    let twice = "[[rules]]\nname = \"x\"\nwho = [\"anyone\"]\nactions = [\"probe\"]\n".repeat(2);
    let error = Policy::from_toml(&twice).unwrap_err().to_string();
    assert_eq!(error, "rules 1 and 2 are both named \"x\"");
}

#[test]
fn what_was_probably_not_meant_is_warned_of() {
    let rule = |name: &str, effect: &str, who: &str, actions: &str, repositories: &str| {
        format!(
            "[[rules]]\nname = \"{name}\"\neffect = \"{effect}\"\nwho = [\"{who}\"]\n\
             actions = [\"{actions}\"]\nrepositories = [\"{repositories}\"]\n"
        )
    };
    let doubts = |rules: &[String]| {
        let policy = Policy::from_toml(&rules.concat()).unwrap();
        let warnings = policy.warnings().iter();
        warnings
            .map(|warning| (warning.line.unwrap(), warning.doubt.clone()))
            .collect::<Vec<_>>()
    };
    let wide = rule("wide", "allow", "authenticated", "any", "team/**");
    let narrow = rule("narrow", "allow", "token:ci", "pull", "team/app");
    let deny = rule("deny", "deny", "anyone", "any", "**");
    assert_eq!(
        doubts(&[wide.clone(), narrow.clone()]),
        [(7, Doubt::Redundant("wide".into()))]
    );
    assert_eq!(
        doubts(&[narrow.clone(), wide.clone()]),
        [(1, Doubt::Redundant("wide".into()))]
    );
    let never = Doubt::NeverAllows("deny".into());
    assert_eq!(doubts(&[narrow.clone(), deny]), [(1, never)]);
    let other = rule("other", "deny", "token:ci", "pull", "team/b*");
    assert_eq!(doubts(&[wide, other]), []);
    let write = rule("write", "allow", "anyone", "push", "a");
    assert_eq!(doubts(&[write]), [(1, Doubt::AnonymousWrite)]);
    let probe = rule("probe", "allow", "anyone", "any", "**");
    let doubts = doubts(&[narrow, probe]);
    assert!(doubts.contains(&(7, Doubt::AnonymousProbe)), "{doubts:?}");
    let policy = office();
    assert_eq!(policy.warnings(), []);
    let unknown = policy.unknown_groups(&["writers"]);
    assert_eq!(
        unknown
            .iter()
            .map(|(rule, group)| (rule.name(), *group))
            .collect::<Vec<_>>(),
        [("readers", "readers"), ("catalog", "readers")]
    );
    assert_eq!(policy.unknown_groups(&["readers"]).len(), 0);
}

#[test]
fn an_explanation_tells_which_rule_decided_and_why_others_did_not() {
    let policy = office();
    let ci = token("ci");
    let caller = Caller::new(Some(&ci), Some("192.0.2.1".parse().unwrap()));
    let route = route("PUT", "/v2/team/app/manifests/v1.0");
    let explanation = policy.explain(caller, &route, None);
    let mismatches: Vec<_> = explanation.mismatches().collect();
    assert_eq!(
        mismatches,
        [
            ("public", Some(Mismatch::Action)),
            ("home", Some(Mismatch::Repository)),
            ("ci", Some(Mismatch::Network)),
            ("readers", Some(Mismatch::Action)),
            ("catalog", Some(Mismatch::Action)),
            ("frozen", None),
            ("health", Some(Mismatch::Action)),
        ]
    );
    let text = explanation.to_string();
    assert!(
        text.starts_with(
            "refused\ntoken:ci to create team/app:v1.0: denied by rule \"frozen\" (line 32)\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("\n  allow rule \"ci\" (line 14) is about other networks\n"),
        "{text}"
    );
}

fn service(
    layer: PolicyLayer,
) -> impl Service<
    Request<()>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = Infallible>>,
    Error = Infallible,
    Future: Send,
> + Clone {
    let layers = ServiceBuilder::new()
        .layer(AccessLogLayer::new())
        .layer(layer);
    layers.service_fn(|request: Request<_>| async move {
        let class = RateClass::of(request.extensions()).map_or("-", RateClass::name);
        let body = Bytes::from(class.to_owned());
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    })
}

fn request(principal: Option<Principal>, method: &str, target: &str) -> Request<()> {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .body(())
        .unwrap();
    let client = ClientAddr::new("10.1.1.1:4711".parse().unwrap());
    request.extensions_mut().insert(client);
    request.extensions_mut().extend(
        principal
            .map(|principal| {
                let mut extensions = http::Extensions::new();
                extensions.insert(principal);
                extensions
            })
            .unwrap_or_default(),
    );
    request
}

#[tokio::test]
async fn a_refusal_names_its_rule_in_the_log_and_not_to_the_client() {
    let captured = Captured::start();
    let responder = Responder::new(Preset::Registry);
    let service = service(PolicyLayer::new(office()).with_responder(responder));
    let refused = request(Some(token("ci")), "PUT", "/v2/team/app/manifests/v1.0");
    let response = service.clone().oneshot(refused).await.unwrap();
    assert_eq!(response.status(), 403);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        body.contains("DENIED") && !body.contains("frozen"),
        "{body}"
    );
    let event = captured.only();
    assert_eq!(event["refusal.reason"], "policy_denied", "{event:?}");
    let text = captured.text();
    assert!(
        text.contains("rule \\\"frozen\\\" (line 32) denies token:ci to create"),
        "{text}"
    );
    assert!(text.contains("team/app"), "{text}");

    let nobody = request(None, "GET", "/v2/team/app/manifests/x");
    let response = service.clone().oneshot(nobody).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("www-authenticate"));
    let hidden = request(None, "GET", "/v2/a%2Fb/manifests/x");
    assert_eq!(service.oneshot(hidden).await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_shadow_policy_is_heard_and_not_obeyed() {
    let captured = Captured::start();
    let shadow = Watched::fixed(Policy::new([]).unwrap());
    let layer = PolicyLayer::new(office()).with_shadow(shadow.clone());
    let service = service(layer);
    let pull = || request(Some(token("ci")), "GET", "/v2/team/app/manifests/x");
    assert_eq!(service.clone().oneshot(pull()).await.unwrap().status(), 200);
    let text = captured.text();
    assert!(
        text.contains("the shadow policy would refuse this"),
        "{text}"
    );
    assert!(
        text.contains("no rule allows token:ci to pull team/app"),
        "{text}"
    );
    shadow.publish(office());
    let before = captured.text().matches("shadow policy").count();
    assert_eq!(service.oneshot(pull()).await.unwrap().status(), 200);
    assert_eq!(captured.text().matches("shadow policy").count(), before);
}

#[tokio::test]
async fn a_verdict_that_is_remembered_with_a_connection_is_of_the_same_question_and_policy() {
    let policy = || {
        let shared = Rule::allow("g", Who::Group("g".into()), Actions::PULL);
        let inside = ["10.0.0.0/8".parse().unwrap()];
        Policy::new([shared
            .on_repositories([Pattern::repository("a").unwrap()])
            .in_networks(inside)])
        .unwrap()
    };
    let watched = Watched::fixed(policy());
    let here = service(PolicyLayer::watching(watched.clone()));
    let other = service(PolicyLayer::new(Policy::new([]).unwrap()));
    let peer = "10.1.1.1:4711".parse().unwrap();
    let connection = portcullis::Connection::builder(peer)
        .state(portcullis::policy::Verdicts::default())
        .build();
    let ask = |member: bool, from: &str, repository: &str| {
        let caller = token("x").in_groups(member.then_some("g"));
        let target = format!("/v2/{repository}/blobs/{DIGEST}");
        let mut request = request(Some(caller), "GET", &target);
        let client = ClientAddr::new(from.parse().unwrap());
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(connection.clone());
        request
    };
    for _ in 0..3 {
        for (member, from, repository, status) in [
            (true, "10.1.1.1:1", "a", 200),
            (false, "10.1.1.1:1", "a", 403),
            (true, "192.0.2.1:1", "a", 403),
            (true, "10.1.1.1:1", "b", 403),
        ] {
            let response = here.clone().oneshot(ask(member, from, repository)).await;
            assert_eq!(
                response.unwrap().status(),
                status,
                "{member} {from} {repository}"
            );
            // Another layer on the same connection, whose policy has the same generation.
            let response = other.clone().oneshot(ask(member, from, repository)).await;
            assert_eq!(response.unwrap().status(), 403);
        }
    }
    watched.publish(Policy::new([]).unwrap());
    let response = here
        .clone()
        .oneshot(ask(true, "10.1.1.1:1", "a"))
        .await
        .unwrap();
    assert_eq!(response.status(), 403, "the policy has changed");
    watched.publish(policy());
    let response = here.oneshot(ask(true, "10.1.1.1:1", "a")).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_rule_names_the_rate_class_of_what_it_allows() {
    let rules = |class: &str| {
        [Rule::allow("x", Who::Anyone, Actions::PULL)
            .on_repositories([Pattern::repository("**").unwrap()])
            .with_rate_class(RateClass::new(class))]
    };
    let watched = Watched::fixed(Policy::new(rules("bulk")).unwrap());
    let service = service(PolicyLayer::watching(watched.clone()));
    for class in ["bulk", "slow"] {
        watched.publish(Policy::new(rules(class)).unwrap());
        let pull = request(None, "GET", "/v2/a/manifests/x");
        let response = service.clone().oneshot(pull).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, class);
    }
}

#[test]
fn a_broken_file_leaves_the_policy_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    assert!(Watched::watch(PolicyFile::new(&file), WatchOptions::default()).is_err());
    std::fs::write(&file, "").unwrap();
    assert!(Watched::watch(PolicyFile::new(&file), WatchOptions::default()).is_err());
    std::fs::write(&file, OFFICE).unwrap();
    let options = WatchOptions::default()
        .with_poll_interval(std::time::Duration::from_millis(20))
        .with_settle(std::time::Duration::from_millis(1));
    let watched = Watched::watch(PolicyFile::new(&file), options).unwrap();
    // In one step: of a file that is written in place, the empty beginning could be seen.
    let next = folder.path().join("next.toml");
    std::fs::write(&next, "[[rules]]\nname = 1").unwrap();
    std::fs::rename(&next, &file).unwrap();
    let mut failure = None;
    for _ in 0..1000 {
        failure = watched.health().failure;
        if failure.is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let failure = failure.unwrap();
    assert!(failure.contains("policy.toml:2:8"), "{failure}");
    assert_eq!(watched.load().rules().len(), 7);
}

proptest! {
    #[test]
    fn the_index_finds_what_a_look_at_every_rule_finds(
        rules in prop::collection::vec(
            (
                any::<bool>(),
                prop::sample::select(vec!["anyone", "authenticated", "token:a", "token:b", "group:g", "anonymous"]),
                prop::sample::select(vec!["any", "pull", "push", "list", "catalog"]),
                "(a|b|\\*|\\*\\*|\\{principal\\.id\\})(/(a|b|\\*|\\*\\*)){0,2}",
            ),
            0..40,
        ),
        who in prop::option::of((prop::sample::select(vec!["a", "b", "c"]), any::<bool>())),
        target in "/v2/[abc](/[abc]){0,2}/(manifests/x|tags/list)|/v2/_catalog",
    ) {
        let rules: Vec<Rule> = rules.iter().enumerate().map(|(at, (deny, who, actions, pattern))| {
            let make = if *deny { Rule::deny } else { Rule::allow };
            let actions: Actions = actions.parse().unwrap();
            let rule = make(at.to_string(), who.parse().unwrap(), actions);
            if actions == Actions::CATALOG { rule } else {
                rule.on_repositories([Pattern::repository(pattern).unwrap()])
            }
        }).collect();
        let policy = Policy::new(rules).unwrap();
        let principal = who.map(|(id, member)| {
            token(id).in_groups(member.then_some("g"))
        });
        let caller = Caller::new(principal.as_ref(), None);
        let route = route("GET", &target);
        let explanation = policy.explain(caller, &route, None);
        let find = |effect| {
            explanation.mismatches().enumerate().find(|(at, (_, mismatch))| {
                mismatch.is_none() && policy.rules()[*at].effect() == effect
            }).map(|(at, _)| at)
        };
        let denied = find(portcullis::policy::Effect::Deny);
        let expected = denied.or_else(|| find(portcullis::policy::Effect::Allow));
        let verdict = explanation.verdict();
        prop_assert_eq!(verdict.rule(), expected);
        prop_assert_eq!(verdict.is_allowed(), expected.is_some() && denied.is_none());
    }
}
