//! Limits on what is pulled, on what is pushed, and on both, and of some callers, in paused time.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]

use crate::rate_support;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use portcullis::rate::{ByteRateLayer, Key, Limit, Window};
use portcullis::{Principal, identity};
use rate_support::{layer, read, total};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

#[tokio::test(start_paused = true)]
async fn both_directions_are_added_up_unless_the_limit_is_of_one() {
    let limit = || Limit::rate("slow", Key::Total, 10_000).with_burst(1000);
    for (limit, expected) in [
        (limit(), 1.1),
        (limit().of_requests(), 0.5),
        (limit().of_responses(), 0.5),
    ] {
        let layer = layer([limit.clone()]);
        let service = layer.layer(tower::service_fn(|request: Request<_>| async move {
            let sent = total(&read(request.into_body()).await);
            let body = Full::new(Bytes::from(vec![0; sent]));
            Ok::<_, Infallible>(Response::new(body))
        }));
        let body = Full::new(Bytes::from(vec![0; 6000]));
        let begin = Instant::now();
        let answer = service.oneshot(Request::new(body)).await.unwrap();
        read(answer.into_body()).await;
        let took = begin.elapsed().as_secs_f64();
        assert!(
            (expected..expected + 0.06).contains(&took),
            "{limit:?}: {took} s"
        );
    }
}

/// A request of a method for a path, with a body or without.
fn asking(method: Method, bytes: usize) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(vec![0; bytes])));
    *request.method_mut() = method;
    request
}

async fn answer(layer: &ByteRateLayer, request: Request<Full<Bytes>>) -> StatusCode {
    let service = layer.layer(tower::service_fn(|request: Request<_>| async move {
        read(request.into_body()).await;
        let body = Full::new(Bytes::from_static(b"ten bytes!"));
        Ok::<_, Infallible>(Response::new(body))
    }));
    let response = service.oneshot(request).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_what_is_pushed_refuses_pushes_and_no_pulls() {
    let quota = |name| Limit::quota(name, Key::Total, 1000, Window::Hour);
    let layer = layer([quota("up").of_requests(), quota("down").of_responses()]);
    assert_eq!(answer(&layer, asking(Method::PUT, 2000)).await, 200);
    // An upload begins with a POST without a body.
    assert_eq!(answer(&layer, asking(Method::POST, 0)).await, 503);
    assert_eq!(answer(&layer, asking(Method::GET, 0)).await, 200);
    assert_eq!(answer(&layer, asking(Method::HEAD, 0)).await, 200);
    for _ in 0..100 {
        answer(&layer, asking(Method::GET, 0)).await;
    }
    assert_eq!(answer(&layer, asking(Method::GET, 0)).await, 503);
}

#[tokio::test(start_paused = true)]
async fn a_cap_on_pulls_is_not_used_up_by_pushes() {
    let cap = Limit::streams("pulls", Key::Total, 1).of_responses();
    let layer = layer([cap]);
    let service = layer.layer(tower::service_fn(|request: Request<_>| async move {
        let (mut parts, body) = request.into_parts();
        parts.extensions.clear();
        read(body).await;
        std::future::pending::<()>().await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let push = tokio::spawn(service.oneshot(asking(Method::PUT, 10)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(answer(&layer, asking(Method::GET, 0)).await, 200);
    // Not read, so that it stays in flight.
    let request = rate_support::request(None, "10.0.0.1:1");
    let pull = rate_support::serving(&layer, 10)
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(answer(&layer, asking(Method::GET, 0)).await, 503);
    drop((push, pull));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_some_callers_counts_what_no_other_one_sends() {
    let limit = || Limit::rate("some", Key::Total, 10).with_burst(10);
    let anonymous = rate_support::request(None, "10.0.0.1:1");
    let ci = rate_support::request(Some("ci"), "10.0.0.1:1");
    let mut member = rate_support::request(None, "10.0.0.1:1");
    let principal = Principal::new(identity::Method::Jwt, "a").in_groups(["x", "slow"]);
    member.extensions_mut().insert(principal);
    for (limit, are_held) in [
        (limit(), [true, true, true]),
        (limit().of_anonymous(), [true, false, false]),
        (limit().of_authenticated(), [false, true, true]),
        (limit().of_principals(["token:ci"]), [false, true, false]),
        (limit().of_principals(["jwt:ci"]), [false, false, false]),
        (limit().of_groups(["slow", "y"]), [false, false, true]),
    ] {
        for (request, is_held) in [&anonymous, &ci, &member].into_iter().zip(are_held) {
            let service = rate_support::serving(&layer([limit.clone()]), 30);
            let begin = Instant::now();
            let answer = service.oneshot(request.clone()).await.unwrap();
            read(answer.into_body()).await;
            assert_eq!(begin.elapsed() > Duration::ZERO, is_held, "{limit:?}");
        }
    }
}
