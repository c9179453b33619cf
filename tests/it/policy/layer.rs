//! The layer: what a client and an operator see.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use portcullis::access_log::AccessLogLayer;
use portcullis::client_warning::ClientWarningLayer;
use portcullis::oci::Route;
use portcullis::policy::{Actions, Pattern, Policy, PolicyLayer, RateClass, Rule, Who};
use portcullis::{BodyError, ClientAddr, Preset, Principal, Responder, Watched};
use tower::{Service, ServiceBuilder, ServiceExt};

use super::support::{DIGEST, office, token};
use crate::captured::Captured;

fn service(
    layer: PolicyLayer,
) -> impl Service<
    Request<Empty<Bytes>>,
    Response = Response<impl http_body::Body<Data = Bytes, Error = BodyError>>,
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

fn request(principal: Option<Principal>, method: &str, target: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::builder()
        .header("host", "registry.example")
        .method(method)
        .uri(target)
        .body(Empty::new())
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
    let event = captured.only();
    assert_eq!(event["shadow.verdict"], "refuse", "{event:?}");
    assert_eq!(
        event["shadow.detail"],
        "in force: rule \"ci\" (line 14) allows it; shadow: no rule allows token:ci to pull team/app"
    );
    assert!(!event.contains_key("refusal.detail"), "{event:?}");
    // A caller's name cannot forge a line of it.
    let eve = request(
        Some(token("eve\n\u{202e}")),
        "GET",
        "/v2/library/x/manifests/y",
    );
    assert_eq!(service.clone().oneshot(eve).await.unwrap().status(), 200);
    let detail = captured.events()[1]["shadow.detail"].to_string();
    assert!(detail.contains("eve\\\\u{a}\\\\u{202e}"), "{detail}");
    shadow.publish(office());
    assert_eq!(service.oneshot(pull()).await.unwrap().status(), 200);
    assert!(!captured.events()[2].contains_key("shadow.verdict"));
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
    let connection = portcullis::Connection::builder(peer).build();
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

/// What the service is asked for, after the layers.
async fn reaches(layer: PolicyLayer, principal: Option<Principal>, target: &str) -> (u16, String) {
    let layers = ServiceBuilder::new()
        .layer(AccessLogLayer::new())
        .layer(layer);
    let service = layers.service_fn(|mut request: Request<_>| async move {
        let route = Route::of(&mut request).unwrap();
        // What reads the route and what reads the target see the same.
        assert_eq!(route.to_string(), request.uri().to_string());
        let body = Bytes::from(request.uri().to_string());
        let class = RateClass::of(request.extensions()).is_some();
        assert!(class, "the class is that of the rule which allows the push");
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    });
    let target = target.replace("$D", DIGEST);
    let response = service.oneshot(request(principal, "POST", &target)).await;
    let (head, body) = response.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status.as_u16(),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

fn team() -> Policy {
    let on = |pattern: &str| [Pattern::repository(pattern).unwrap()];
    Policy::new([
        Rule::allow("team", Who::Authenticated, Actions::PULL | Actions::PUSH)
            .on_repositories(on("team/*"))
            .with_rate_class(RateClass::new("bulk")),
    ])
    .unwrap()
}

/// The requests by which containerd pushes a layer that another repository may have: a POST with `mount`
/// and `from`, and, at a 202, the upload. A 403 there ends its push.
#[tokio::test]
async fn a_mount_that_the_policy_does_not_allow_goes_on_as_an_ordinary_upload() {
    let captured = Captured::start();
    for (query, reaches_as, why) in [
        ("mount=$D&from=team/b", "?mount=$D&from=team/b", None),
        (
            "mount=$D&from=secret/b",
            "",
            Some("no rule allows token:ci to pull secret/b"),
        ),
        (
            "from=secret%2Fb&mount=$D",
            "",
            Some("no rule allows token:ci to pull secret/b"),
        ),
        (
            "mount=$D",
            "",
            Some("no rule allows token:ci to pull any repository"),
        ),
        (
            "ns=docker.io&mount=$D&from=secret/b&x=1",
            "?ns=docker.io&x=1",
            Some("no rule allows token:ci to pull secret/b"),
        ),
        (
            "from=secret/b&digest=$D",
            "?digest=$D",
            Some("no rule allows token:ci to pull secret/b"),
        ),
    ] {
        let before = captured.events().len();
        let target = format!("/v2/team/a/blobs/uploads/?{query}");
        let layer = PolicyLayer::new(team());
        let (status, asked) = reaches(layer, Some(token("ci")), &target).await;
        assert_eq!(status, 200, "{query}");
        let wanted = format!("/v2/team/a/blobs/uploads/{reaches_as}");
        assert_eq!(asked, wanted.replace("$D", DIGEST), "{query}");
        let event = &captured.events()[before];
        let told = event.get("mount.declined").and_then(|value| value.as_str());
        assert_eq!(told, why, "{query}");
        assert!(!event.contains_key("refusal.reason"), "{event:?}");
    }
}

#[tokio::test]
async fn a_mount_is_refused_where_its_caller_may_not_push_or_its_query_has_two_readings() {
    for (principal, target, status) in [
        (
            Some(token("ci")),
            "/v2/other/a/blobs/uploads/?mount=$D&from=team/b",
            403,
        ),
        (
            Some(token("ci")),
            "/v2/other/a/blobs/uploads/?mount=$D&from=secret/b",
            403,
        ),
        (
            None,
            "/v2/team/a/blobs/uploads/?mount=$D&from=secret/b",
            401,
        ),
        (
            Some(token("ci")),
            "/v2/team/a/blobs/uploads/?mount=$D&mount=$D&from=team/b",
            400,
        ),
        (
            Some(token("ci")),
            "/v2/team/a/blobs/uploads/?mount=$D&from=team/b&from=secret/b",
            400,
        ),
        (
            Some(token("ci")),
            "/v2/team/a/blobs/uploads/?mount=$D&from=secret/b&digest=$D",
            400,
        ),
    ] {
        let refused = reaches(PolicyLayer::new(team()), principal, target).await;
        assert_eq!(refused.0, status, "{target}");
    }
}

#[tokio::test]
async fn a_policy_that_ended_is_compared_with_no_other() {
    use std::time::Duration;

    use portcullis::reload::WatchOptions;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let nothing = "[[rules]]\nname = \"health\"\nwho = [\"anyone\"]\nactions = [\"other\"]\n\
                   paths = [\"/healthz\"]\n";
    std::fs::write(&file, nothing).unwrap();
    let options = WatchOptions::default()
        .with_poll_interval(Duration::from_millis(20))
        .with_stale_after(Duration::from_millis(1));
    let watched = Policy::watch(&file, options).unwrap();
    let pull = || request(Some(token("ci")), "GET", "/v2/team/app/manifests/x");
    let layers = || {
        [
            PolicyLayer::new(office()).with_shadow(watched.clone()),
            PolicyLayer::watching(watched.clone()).with_shadow(Watched::fixed(office())),
        ]
    };
    let answers = async || {
        let captured = Captured::start();
        let mut statuses = Vec::new();
        for layer in layers() {
            let answer = service(layer).oneshot(pull()).await.unwrap();
            statuses.push(answer.status().as_u16());
        }
        let events = captured.events();
        let told = events.iter();
        let told: Vec<_> = told
            .map(|event| event.contains_key("shadow.verdict"))
            .collect();
        (statuses, told)
    };
    assert_eq!(answers().await, (vec![200, 403], vec![true; 2]));
    std::fs::write(&file, "=").unwrap();
    let begun = std::time::Instant::now();
    while !watched.health().lapsed {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(answers().await, (vec![200, 503], vec![false; 2]));
}

#[tokio::test]
async fn a_shadow_policy_that_differs_in_a_mount_alone_is_told() {
    let captured = Captured::start();
    let everything = || Watched::fixed(Policy::open());
    let mount = "/v2/team/a/blobs/uploads/?mount=$D&from=secret/b";
    let layer = PolicyLayer::new(team()).with_shadow(everything());
    assert_eq!(reaches(layer, Some(token("ci")), mount).await.0, 200);
    let event = captured.only();
    assert_eq!(event["shadow.verdict"], "allow", "{event:?}");
    assert_eq!(
        event["shadow.detail"],
        "in force: no rule allows token:ci to pull secret/b; shadow: rule \"everything\" allows it"
    );
    // Both decline it: nothing to tell.
    let layer = PolicyLayer::new(team()).with_shadow(Watched::fixed(team()));
    assert_eq!(reaches(layer, Some(token("ci")), mount).await.0, 200);
    assert!(!captured.events()[1].contains_key("shadow.verdict"));
}

/// The warnings that a caller gets behind two policies.
async fn warned(outer: PolicyLayer, inner: PolicyLayer, method: &str, target: &str) -> Vec<String> {
    let service = ServiceBuilder::new()
        .layer(outer)
        .layer(inner)
        .layer(ClientWarningLayer::new())
        .service_fn(|_: Request<Empty<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
    let target = target.replace("$D", DIGEST);
    let request = request(Some(token("ci")), method, &target);
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let warnings = answer.headers().get_all("warning").iter();
    warnings
        .map(|warning| warning.to_str().unwrap().to_owned())
        .collect()
}

fn open() -> PolicyLayer {
    PolicyLayer::new(Policy::open())
}

#[tokio::test]
async fn a_caller_is_warned_of_what_either_of_two_nested_policies_notes() {
    let strict = || open().with_shadow(Watched::fixed(Policy::new([]).unwrap()));
    let old = || {
        let old = Rule::allow("old", Who::Anyone, Actions::PULL)
            .on_repositories([Pattern::repository("**").unwrap()])
            .with_deprecation("move on");
        PolicyLayer::new(Policy::new([old]).unwrap())
    };
    for (outer, inner, texts) in [
        (open(), open(), &[][..]),
        (strict(), open(), &["a stricter policy"]),
        (open(), strict(), &["a stricter policy"]),
        (strict(), strict(), &["a stricter policy"]),
        (old(), strict(), &["a stricter policy", "is deprecated"]),
        (strict(), old(), &["a stricter policy", "is deprecated"]),
    ] {
        let told = warned(outer, inner, "GET", "/v2/team/app/manifests/x").await;
        assert_eq!(told.len(), texts.len(), "{told:?}");
        for (told, text) in told.iter().zip(texts) {
            assert!(told.contains(text), "{told}");
        }
    }
}

#[tokio::test]
async fn no_caller_is_warned_of_a_shadow_policy_that_differs_in_a_mount_alone() {
    let mount = "/v2/team/a/blobs/uploads/?mount=$D&from=secret/b";
    let wider = PolicyLayer::new(team()).with_shadow(Watched::fixed(Policy::open()));
    let narrower = open().with_shadow(Watched::fixed(team()));
    for layer in [wider, narrower] {
        let told = warned(layer, open(), "POST", mount).await;
        assert!(told.is_empty(), "{told:?}");
    }
}
