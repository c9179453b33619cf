//! A guard, or a layer alone, inside of a router that takes `/v2` off the paths.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::OriginalUri;
use axum::routing::any;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use portcullis::access_log::AccessLogLayer;
use portcullis::oci::Route;
use portcullis::policy::{
    Actions, BindingLayer, DigestBinding, Pattern, Policy, PolicyLayer, Rule, Who,
};
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
use portcullis::{ClientAddr, Guard};
use tower::{Layer, ServiceExt, service_fn};

use crate::captured::Captured;

/// Pulls from `public/**` alone.
fn policy() -> Policy {
    let public = Pattern::repository("public/**").unwrap();
    let rule = Rule::allow("public", Who::Anyone, Actions::PULL | Actions::PUSH);
    Policy::new([rule.on_repositories([public])]).unwrap()
}

fn request(method: &str, target: &str) -> Request<Body> {
    let client = ClientAddr::new("10.0.0.1:4711".parse().unwrap());
    let request = Request::builder()
        .method(method)
        .uri(target)
        .extension(client);
    request
        .header("host", "registry.example")
        .body(Body::empty())
        .unwrap()
}

async fn status(router: &Router, target: &str) -> u16 {
    let answer = router
        .clone()
        .oneshot(request("GET", target))
        .await
        .unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn a_guard_inside_a_nest_reads_the_whole_path() {
    let log = Captured::start();
    let guard = Guard::builder().policy(policy()).build();
    let inner = Router::new()
        .route("/{*rest}", any(|| async { "yes" }))
        .layer(guard.clone());
    let nested = Router::new().nest("/v2", inner.clone());
    let twice = Router::new().nest("/v2", Router::new().nest("/public", inner));
    for router in [&nested, &twice] {
        assert_eq!(status(router, "/v2/public/a/manifests/1").await, 200);
        assert_eq!(status(router, "/v2/public/a%2fb/manifests/1").await, 400);
    }
    assert_eq!(status(&nested, "/v2/secret/a/manifests/1").await, 403);
    // A repository may be called so.
    assert_eq!(status(&nested, "/v2/v2/public/a/manifests/1").await, 403);
    let first = log.events().remove(0);
    assert_eq!(first["url.path"], "/v2/public/a/manifests/1", "{first:?}");
    assert_eq!(first["oci.repository"], "public/a", "{first:?}");
    // Elsewhere the path as it is left is the route.
    let inner = Router::new()
        .route("/{*rest}", any(|| async { "yes" }))
        .layer(guard);
    let mirror = Router::new().nest("/mirror", inner);
    assert_eq!(
        status(&mirror, "/mirror/v2/public/a/manifests/1").await,
        200
    );
    assert_eq!(
        status(&mirror, "/mirror/v2/secret/a/manifests/1").await,
        403
    );
}

async fn yes<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from("yes"))))
}

/// Asks behind a router that takes prefixes off and says nothing of it.
async fn stripped(guard: &Guard, target: &str) -> u16 {
    let service = guard.layer(service_fn(yes));
    let answer = service.oneshot(request("GET", target)).await.unwrap();
    answer.status().as_u16()
}

#[tokio::test]
async fn a_path_that_has_lost_its_prefix_is_refused_and_the_cause_said_once() {
    let log = Captured::start();
    let guard = Guard::builder().build();
    let digest = format!("sha256:{}", "0".repeat(64));
    for target in [
        "/public/a/manifests/1".to_owned(),
        format!("/public/a/blobs/{digest}"),
        "/public/a/tags/list".to_owned(),
        format!("/public/a/referrers/{digest}"),
        "/public/a/blobs/uploads/".to_owned(),
        "/_catalog".to_owned(),
        // Not by the grammar, and yet not let pass as something else.
        "/PUBLIC/a/manifests/1".to_owned(),
    ] {
        assert_eq!(stripped(&guard, &target).await, 503, "{target}");
    }
    let text = log.text();
    let errors: Vec<_> = text
        .lines()
        .filter(|line| line.contains("\"ERROR\""))
        .collect();
    assert_eq!(errors.len(), 1, "{text}");
    for part in ["nest(", "base_path(", "/v2/", "docs/wiring.md"] {
        assert!(errors[0].contains(part), "{part}: {}", errors[0]);
    }
    for target in ["/", "/healthz", "/assets/blobs/style.css"] {
        assert_eq!(stripped(&guard, target).await, 200, "{target}");
    }
    // Where that is what they are.
    let as_they_are = Guard::builder().base_path("/").build();
    assert_eq!(stripped(&as_they_are, "/public/a/manifests/1").await, 200);
}

#[tokio::test]
async fn a_base_path_is_put_back_before_the_route_is_read() {
    let log = Captured::start();
    let guard = Guard::builder().policy(policy()).base_path("/v2").build();
    for (target, status) in [
        ("/public/a/manifests/1", 200),
        ("/secret/a/manifests/1", 403),
        ("/v2/public/a/manifests/1", 403),
        ("/public/%61/manifests/1", 400),
        ("/public/a/nothing/1", 404),
    ] {
        assert_eq!(stripped(&guard, target).await, status, "{target}");
    }
    assert_eq!(log.each("url.path")[0], "/v2/public/a/manifests/1");
}

#[tokio::test]
async fn each_layer_that_reads_routes_can_have_a_base_path() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let blob = format!("/public/a/blobs/{digest}");
    let whole = format!("/v2{blob}");
    macro_rules! statuses {
        ($layer:expr) => {{
            let mut statuses = Vec::new();
            for target in [&whole, &blob] {
                let answer = $layer
                    .layer(service_fn(yes))
                    .oneshot(request("GET", target))
                    .await;
                statuses.push(answer.unwrap().status().as_u16());
            }
            statuses
        }};
    }
    macro_rules! status {
        ($layer:expr) => {{
            let service = $layer.layer(service_fn(yes));
            let answer = service.oneshot(request("GET", &blob)).await;
            answer.unwrap().status()
        }};
    }
    // As it is: the whole path is read, and what is left of it refused.
    let binding = || BindingLayer::new(DigestBinding::new(10));
    assert_eq!(statuses!(PolicyLayer::new(policy())), [200, 503]);
    assert_eq!(statuses!(binding()), [404, 503]);
    assert_eq!(
        status!(PolicyLayer::new(policy()).with_base_path("/v2")),
        200
    );
    assert_eq!(status!(binding().with_base_path("/v2")), 404);
    // A limit by repository would not hold for what has none.
    let limits = Limits::new([Limit::rate("repository", Key::Repository, 1_000_000)]).unwrap();
    assert_eq!(statuses!(ByteRateLayer::new(limits.clone())), [200, 503]);
    assert_eq!(
        status!(ByteRateLayer::new(limits).with_base_path("/v2")),
        200
    );
    // The outermost says it for all.
    let log = Captured::start();
    let stack = tower::ServiceBuilder::new()
        .layer(AccessLogLayer::new().with_base_path("/v2"))
        .layer(PolicyLayer::new(policy()));
    let answer = stack
        .service(service_fn(yes))
        .oneshot(request("GET", &blob))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    assert_eq!(log.only()["url.path"], *whole);
}

#[tokio::test]
async fn a_mount_that_is_declined_inside_a_nest_is_gone_from_every_form_of_the_target() {
    let guard = Guard::builder().policy(policy()).build();
    let seen = any(
        |OriginalUri(original): OriginalUri, mut request: Request<Body>| async move {
            let own = request.uri().clone();
            let route = Route::of(&mut request).unwrap();
            format!("{original} {own} {route}")
        },
    );
    let router = Router::new().nest("/v2", Router::new().fallback(seen).layer(guard));
    let digest = format!("sha256:{}", "0".repeat(64));
    let target = format!("/v2/public/a/blobs/uploads/?mount={digest}&from=secret/b");
    let request = request(Method::POST.as_str(), &target);
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = axum::body::to_bytes(answer.into_body(), 1000)
        .await
        .unwrap();
    let whole = "/v2/public/a/blobs/uploads/";
    assert_eq!(body, format!("{whole} /public/a/blobs/uploads/ {whole}"));
}
