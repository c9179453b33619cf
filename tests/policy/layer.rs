//! The layer: what a client and an operator are told.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use portcullis::audit::AccessLogLayer;
use portcullis::policy::{Actions, Pattern, Policy, PolicyLayer, RateClass, Rule, Who};
use portcullis::{BodyError, ClientAddr, Preset, Principal, Responder, Watched};
use tower::{Service, ServiceBuilder, ServiceExt};

use crate::captured::Captured;
use crate::support::{DIGEST, office, token};

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
