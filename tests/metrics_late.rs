//! A recorder that is installed after the first requests. It is the whole process's, so this is a program of its
//! own.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(all(feature = "metrics", feature = "rate"))]

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::access_log::AccessLogLayer;
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
use tower::{ServiceBuilder, ServiceExt};

/// The value of each line of a scrape that begins so.
fn values(scrape: &str, name: &str) -> Vec<f64> {
    let lines = scrape.lines().filter(|line| line.starts_with(name));
    let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap());
    values.collect()
}

#[tokio::test]
async fn a_recorder_that_comes_after_the_first_request_counts_from_then_on() {
    let limits = Limits::new([Limit::rate("line", Key::Total, 1_000_000)]).unwrap();
    let service = ServiceBuilder::new()
        .layer(AccessLogLayer::new())
        .layer(ByteRateLayer::new(limits))
        .service_fn(|_: Request<_>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("blob"))))
        });
    let ask = || {
        let request = Request::get("/v2/")
            .header("host", "registry.example")
            .body(Full::<Bytes>::default());
        service.clone().oneshot(request.unwrap())
    };
    ask().await.unwrap().into_body().collect().await.unwrap();
    let begun_before = ask().await.unwrap();

    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    for _ in 0..2 {
        ask().await.unwrap().into_body().collect().await.unwrap();
    }
    let scrape = recorder.render();
    let counted = values(&scrape, "portcullis_requests_total{");
    assert_eq!(counted, [2.0], "{scrape}");
    // Each label has a series of its own, however often the others were counted.
    let request = Request::put("/v2/a/manifests/b").header("host", "registry.example");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let answer = service.clone().oneshot(request).await.unwrap();
    answer.into_body().collect().await.unwrap();
    let scrape = recorder.render();
    for (series, count) in [
        (
            "portcullis_requests_total{endpoint=\"base\",method=\"GET\",status=\"200\"}",
            2.0,
        ),
        (
            "portcullis_requests_total{endpoint=\"manifest\",method=\"PUT\",status=\"200\"}",
            1.0,
        ),
        (
            "portcullis_request_duration_seconds_count{endpoint=\"base\"}",
            2.0,
        ),
        (
            "portcullis_request_duration_seconds_count{endpoint=\"manifest\"}",
            1.0,
        ),
    ] {
        assert_eq!(values(&scrape, series), [count], "{series}: {scrape}");
    }
    let sent = values(&scrape, "portcullis_body_bytes_total{direction=\"out\"}");
    assert_eq!(sent, [12.0], "{scrape}");

    // Its beginning was not counted, so its end must not be taken off.
    drop(begun_before);
    let scrape = recorder.render();
    for gauge in [
        "portcullis_requests_in_flight",
        "portcullis_limit_transfers",
    ] {
        let values = values(&scrape, gauge);
        assert_eq!(values, [0.0], "{gauge}: {scrape}");
    }
}
