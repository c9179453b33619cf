//! The attack of the bench `attack`, with few connections and for a few seconds.

#[path = "../../../benches/attack/load/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::format_push_string,
    reason = "shared with a bench"
)]
mod load;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use load::{Attack, Plan, Target, pull};
use portcullis::serve::Incoming;
use portcullis::{Body, BodyError};
use tower::service_fn;

use super::support::{Tls, start, until};

const GOOD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// Refuses uploads without credentials and reads the others.
async fn registry(request: Request<Body<Incoming>>) -> Result<Response<Full<Bytes>>, BodyError> {
    if request.method() == Method::GET {
        return Ok(Response::new(Full::from(vec![7; 64 * 1024])));
    }
    if !request.headers().contains_key(AUTHORIZATION) {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    }
    let length = request.into_body().collect().await?.to_bytes().len();
    Ok(Response::new(Full::from(length.to_string())))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attack_of_all_kinds_costs_a_client_that_pulls_no_request_and_leaves_nothing() {
    let tls = Tls::new();
    // Fewer than the attack asks for.
    let server = tls
        .open()
        .with_max_connections(96)
        .with_max_new_connections(24)
        .with_max_connections_per_source(40);
    // Each connection has a clone of the service.
    let held = Arc::new(());
    let clone = Arc::clone(&held);
    let service = service_fn(move |request| {
        let clone = Arc::clone(&clone);
        async move {
            let answer = registry(request).await;
            drop(clone);
            answer
        }
    });
    let running = start(server, service).await;
    let blob = format!("/v2/a/blobs/sha256:{}", "0".repeat(64));
    let target = Target::new(running.address, &tls.client, &blob, "/v2/a/blobs/uploads/1")
        .with_authorization("Bearer token");
    let before = Arc::strong_count(&held);
    let attack = Attack::begin(&target, &Plan::small());
    let pulled = pull(&target, GOOD, Duration::from_secs(4)).await;
    let first = pulled.failed.first();
    assert!(first.is_none(), "{} failed: {first:?}", pulled.failed.len());
    let each = [&pulled.new, &pulled.http1, &pulled.http2];
    assert!(each.iter().all(|pulls| !pulls.is_empty()), "{pulled:?}");
    let opened = attack.counts();
    assert!(opened.iter().all(|count| count.opened > 0), "{opened:?}");
    assert!(Arc::strong_count(&held) > before);
    drop(attack);
    until("nothing of it is left", || {
        Arc::strong_count(&held) == before
    })
    .await;
}
