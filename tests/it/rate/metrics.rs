//! What is counted of byte-rate limits.
#![cfg(all(feature = "rate", feature = "metrics"))]
#![allow(clippy::unwrap_used)]

use crate::rate_support;

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits, Window};
use rate_support::{Reader, layer, request, serving};
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);

/// Runs in one thread, with time that only waiting moves on, and a recorder of its own.
fn counted(run: impl AsyncFnOnce(&PrometheusHandle)) -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(run(&handle)));
    handle
}

fn assert_has(handle: &PrometheusHandle, lines: &[&str]) {
    let scrape = handle.render();
    for line in lines {
        assert!(
            scrape.lines().any(|found| found == *line),
            "no {line} in\n{scrape}"
        );
    }
}

async fn get(layer: &ByteRateLayer, bytes: usize) {
    let request = request(Some("a"), "10.0.0.1:1");
    let answer = serving(layer, bytes).oneshot(request).await.unwrap();
    rate_support::read(answer.into_body()).await;
}

#[test]
fn limits_are_counted_though_the_recorder_came_after_the_first_body() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let limit = Limit::rate("line", Key::Total, 1_000_000).with_quota(1 << 40, Window::Day);
    let layer = layer([limit]);
    let before = runtime.block_on(async {
        let readers = Reader::many(&layer, "a", 2).await;
        tokio::time::sleep(SECOND).await;
        readers
    });
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let readers = Reader::many(&layer, "a", 3).await;
            tokio::time::sleep(SECOND).await;
            drop(before);
            tokio::time::sleep(SECOND).await;
            assert_has(
                &handle,
                &[
                    "portcullis_limit_transfers{limit=\"line\"} 3",
                    "portcullis_limit_waiting{limit=\"line\"} 3",
                ],
            );
            assert!(handle.render().contains("portcullis_quota_left_bytes"));
            drop(readers);
        });
    });
}

#[test]
fn transfers_and_what_holds_them_back_are_counted_by_limit() {
    let handle = counted(async |handle| {
        let layer = layer([
            Limit::rate("line", Key::Total, 1_000_000).with_burst(16_384),
            Limit::rate("caller", Key::Principal, 900_000_000),
        ]);
        let readers = Reader::many(&layer, "a", 4).await;
        tokio::time::sleep(5 * SECOND).await;
        assert_has(
            handle,
            &[
                "portcullis_limit_transfers{limit=\"line\"} 4",
                "portcullis_limit_transfers{limit=\"caller\"} 4",
                "portcullis_limit_waiting{limit=\"line\"} 4",
            ],
        );
        drop(readers);
        tokio::time::sleep(SECOND).await;
    });
    assert_has(
        &handle,
        &[
            "portcullis_limit_transfers{limit=\"line\"} 0",
            "portcullis_limit_transfers{limit=\"caller\"} 0",
            "portcullis_limit_waiting{limit=\"line\"} 0",
            // Four streams for five seconds.
            "portcullis_limit_throttled_seconds_total{limit=\"line\"} 20",
        ],
    );
    let scrape = handle.render();
    assert!(
        !scrape.contains("portcullis_limit_waiting{limit=\"caller\"} 1"),
        "{scrape}"
    );
}

#[test]
fn what_a_limit_refuses_is_counted_by_limit_and_reason() {
    let handle = counted(async |_| {
        let layer = layer([
            Limit::rate("line", Key::Total, 1_000)
                .with_burst(1_000)
                .with_max_wait(SECOND),
            Limit::streams("few", Key::Total, 1),
        ]);
        let first = Reader::start(&layer, "a").await;
        get(&layer, 10).await;
        get(&layer, 10).await;
        drop(first);
        tokio::time::sleep(SECOND).await;
    });
    assert_has(
        &handle,
        &["portcullis_limit_refusals_total{limit=\"few\",reason=\"streams_exceeded\"} 2"],
    );
    let handle = counted(async |_| {
        let line = Limit::rate("line", Key::Total, 1_000).with_max_transfer(SECOND);
        get(&layer([line]), 1_000_000).await;
    });
    assert_has(
        &handle,
        &["portcullis_limit_refusals_total{limit=\"line\",reason=\"rate_exceeded\"} 1"],
    );
}

#[test]
fn what_is_left_of_a_quota_is_that_of_the_key_that_has_least() {
    let handle = counted(async |handle| {
        let quota = Limit::quota("monthly", Key::Source, 1_000, Window::Month).with_cut(true);
        let limits = Limits::new([quota]).unwrap();
        let layer = ByteRateLayer::new(limits);
        let from = async |source, bytes| {
            let answer = serving(&layer, bytes).oneshot(request(None, source));
            answer.await.unwrap().into_body()
        };
        rate_support::read(from("10.0.0.1:1", 600).await).await;
        rate_support::read(from("10.0.0.2:1", 100).await).await;
        assert_has(
            handle,
            &["portcullis_quota_left_bytes{limit=\"monthly\"} 400"],
        );
        let mut body = from("10.0.0.1:1", 500).await;
        while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut body).await {}
    });
    assert_has(
        &handle,
        &["portcullis_quota_left_bytes{limit=\"monthly\"} 0"],
    );
}
