//! Byte-rate limits on bodies, in paused time.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]

use crate::rate_support;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full};
use portcullis::Watched;
use portcullis::identity::{Method as Shown, Principal};
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
use portcullis::record::Record;
use rate_support::{
    Frames, assert_conforms, layer, next_frame, read, request, serving, serving_body, total,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

#[tokio::test(start_paused = true)]
async fn a_body_passes_at_its_rate_after_its_burst_and_no_window_has_more() {
    let layer = layer([Limit::rate("total", Key::Total, 100_000).with_burst(20_000)]);
    let response = serving(&layer, 520_000)
        .oneshot(request(None, "10.0.0.1:1"))
        .await
        .unwrap();
    let begin = Instant::now();
    let sent = read(response.into_body()).await;
    assert_eq!(total(&sent), 520_000);
    assert_conforms(&sent, 100_000, 20_000);
    let took = begin.elapsed().as_secs_f64();
    assert!((4.99..5.02).contains(&took), "{took}");
    let pauses = sent
        .windows(2)
        .map(|pair| pair[1].0.saturating_sub(pair[0].0));
    assert!(pauses.max().unwrap() <= Duration::from_millis(25));
}

#[tokio::test(start_paused = true)]
async fn headers_come_at_once_even_if_the_limit_is_spent() {
    let layer = layer([Limit::rate("total", Key::Total, 1000).with_burst(1000)]);
    let mut service = serving(&layer, 10_000);
    let first = service
        .ready()
        .await
        .unwrap()
        .call(request(None, "10.0.0.1:1"))
        .await
        .unwrap();
    let begin = Instant::now();
    let second = service
        .ready()
        .await
        .unwrap()
        .call(request(None, "10.0.0.2:1"))
        .await
        .unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(second.body().size_hint().exact(), Some(10_000));
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_head_request_and_an_empty_answer_cost_nothing() {
    let layer = layer([Limit::rate("total", Key::Total, 10).with_burst(10)]);
    for (method, status) in [
        (Method::HEAD, StatusCode::OK),
        (Method::GET, StatusCode::NO_CONTENT),
        (Method::GET, StatusCode::NOT_MODIFIED),
    ] {
        let service = layer.layer(tower::service_fn(move |_: Request<_>| async move {
            let mut response = Response::new(Full::new(Bytes::from(vec![0; 1000])));
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }));
        let mut request = request(None, "10.0.0.1:1");
        *request.method_mut() = method;
        let begin = Instant::now();
        read(service.oneshot(request).await.unwrap().into_body()).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn frames_are_split_by_reference_and_sizes_and_trailers_stay() {
    let layer = layer([Limit::rate("total", Key::Total, 10_000).with_burst(1000)]);
    let data = Bytes::from(vec![3; 5000]);
    let range = data.as_ptr_range();
    let mut trailers = HeaderMap::new();
    trailers.insert("digest", HeaderValue::from_static("x"));
    let (frame, last) = (data.clone(), trailers.clone());
    let service = serving_body(&layer, move || {
        let frames = [
            Frame::data(Bytes::new()),
            Frame::data(frame.clone()),
            Frame::trailers(last.clone()),
        ];
        Frames(frames.into())
    });
    let mut body = service
        .oneshot(request(None, "10.0.0.1:1"))
        .await
        .unwrap()
        .into_body();
    let mut bytes = 0;
    let mut seen_trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(part) => {
                assert!(part.is_empty() || range.contains(&part.as_ptr()));
                bytes += part.len();
            }
            Err(frame) => seen_trailers = frame.into_trailers().ok(),
        }
    }
    assert_eq!(bytes, 5000);
    assert_eq!(seen_trailers, Some(trailers));
}

#[tokio::test(start_paused = true)]
async fn the_size_hint_is_exact_while_a_frame_is_held() {
    let layer = layer([Limit::rate("total", Key::Total, 10_000).with_burst(1000)]);
    let response = serving(&layer, 5000)
        .oneshot(request(None, "10.0.0.1:1"))
        .await
        .unwrap();
    let mut body = std::pin::pin!(response.into_body());
    let mut left = 5000;
    while let Some(frame) = body.frame().await {
        left -= frame.unwrap().into_data().unwrap_or_default().len() as u64;
        assert_eq!(body.size_hint().exact(), Some(left));
        assert_eq!(body.is_end_stream(), left == 0);
    }
    assert_eq!(left, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_body_is_slowed_as_the_service_reads_it() {
    let limit = Limit::rate("up", Key::Total, 10_000).with_burst(1000);
    let layer = layer([limit.of_requests()]);
    let service = layer.layer(tower::service_fn(|request: Request<_>| async move {
        let sent = read(request.into_body()).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![0; total(&sent)]))))
    }));
    let begin = Instant::now();
    let request = Request::new(Full::new(Bytes::from(vec![0; 11_000])));
    let response = service.oneshot(request).await.unwrap();
    assert!((0.99..1.02).contains(&begin.elapsed().as_secs_f64()));
    // The other direction is free.
    assert_eq!(total(&read(response.into_body()).await), 11_000);
    assert!(begin.elapsed().as_secs_f64() < 1.02);
}

#[tokio::test(start_paused = true)]
async fn each_caller_and_each_source_has_a_rate_of_its_own() {
    let layer = layer([
        Limit::rate("caller", Key::Principal, 10_000).with_burst(1000),
        Limit::rate("source", Key::Source, 15_000).with_burst(1000),
    ]);
    let service = serving(&layer, 11_000);
    let begin = Instant::now();
    let get = |principal: Option<&'static str>, source: &'static str| {
        let service = service.clone();
        async move {
            read(
                service
                    .oneshot(request(principal, source))
                    .await
                    .unwrap()
                    .into_body(),
            )
            .await;
            begin.elapsed().as_secs_f64()
        }
    };
    let (first, second, third) = tokio::join!(
        get(Some("a"), "10.0.0.1:1"),
        get(Some("b"), "10.0.0.2:1"),
        get(None, "10.0.0.3:1"),
    );
    for took in [first, second, third] {
        assert!((0.99..1.05).contains(&took), "{took}");
    }
    // Two callers at one address: the address is the narrower.
    let begin_two = begin.elapsed().as_secs_f64();
    let (one, two) = tokio::join!(get(Some("d"), "10.0.0.9:1"), get(Some("e"), "10.0.0.9:2"));
    let took = one.max(two) - begin_two;
    assert!((1.38..1.46).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_authenticated_never_spends_what_a_caller_has() {
    let layer = layer([Limit::rate("caller", Key::Principal, 10_000).with_burst(1000)]);
    let service = serving(&layer, 100_000);
    let open = service
        .clone()
        .oneshot(request(None, "10.0.0.1:1"))
        .await
        .unwrap();
    let reading = tokio::spawn(read(open.into_body()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The same address, but with a name: all its credit is there.
    let begin = Instant::now();
    let response = service
        .oneshot(request(Some("a"), "10.0.0.1:1"))
        .await
        .unwrap();
    let mut body = std::pin::pin!(response.into_body());
    let mut bytes = 0;
    while bytes < 1000 {
        bytes += next_frame(&mut body).await;
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    reading.abort();
}

#[tokio::test(start_paused = true)]
async fn what_a_cancelled_stream_had_reserved_is_given_back() {
    let layer = layer([Limit::rate("total", Key::Total, 1000).with_burst(4000)]);
    let tens = serving_body(&layer, || {
        let ten = || Frame::data(Bytes::from_static(b"ten bytes!"));
        Frames((0..100).map(|_| ten()).collect())
    });
    let begin = Instant::now();
    for _ in 0..100 {
        // Its turn is of hundreds of bytes; it sends ten.
        let mut body = tens
            .clone()
            .oneshot(request(None, "10.0.0.1:1"))
            .await
            .unwrap()
            .into_body();
        body.frame().await.unwrap().unwrap();
    }
    let rest = serving(&layer, 3000)
        .oneshot(request(None, "10.0.0.1:1"))
        .await
        .unwrap();
    assert_eq!(total(&read(rest.into_body()).await), 3000);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let more = serving(&layer, 500)
        .oneshot(request(None, "10.0.0.1:1"))
        .await
        .unwrap();
    read(more.into_body()).await;
    assert!(begin.elapsed() >= Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn the_time_held_back_is_noted() {
    let layer = layer([Limit::rate("total", Key::Total, 10_000).with_burst(1000)]);
    let record = Record::default();
    let mut request = request(None, "10.0.0.1:1");
    request.extensions_mut().insert(record.clone());
    read(
        serving(&layer, 11_000)
            .oneshot(request)
            .await
            .unwrap()
            .into_body(),
    )
    .await;
    let held = record.throttled_time().as_secs_f64();
    assert!((0.95..1.02).contains(&held), "{held}");
}

#[tokio::test(start_paused = true)]
async fn a_new_rate_takes_hold_on_a_stream_in_flight() {
    let limits =
        |rate| Limits::new([Limit::rate("total", Key::Total, rate).with_burst(1000)]).unwrap();
    let watched = Watched::fixed(limits(1000));
    let layer = ByteRateLayer::watching(watched.clone());
    let service = serving(&layer, 101_000);
    let response = service.oneshot(request(None, "10.0.0.1:1")).await.unwrap();
    let begin = Instant::now();
    let reading = tokio::spawn(read(response.into_body()));
    tokio::time::sleep(Duration::from_secs(10)).await;
    watched.publish(limits(90_000));
    reading.await.unwrap();
    let took = begin.elapsed().as_secs_f64();
    assert!((10.98..11.3).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_a_reload_adds_takes_hold_on_streams_in_flight() {
    let total = |rate| Limit::rate("total", Key::Total, rate).with_burst(100_000);
    let added = Limit::rate("source", Key::Source, 1000).with_burst(1000);
    // One stream that nothing limited so far, and one that is held back by another limit.
    for before in [Limits::none(), Limits::new([total(100_000)]).unwrap()] {
        let watched = Watched::fixed(before);
        let layer = ByteRateLayer::watching(watched.clone());
        let body = || rate_support::Endless;
        let service = serving_body(&layer, body);
        let response = service.oneshot(request(None, "10.0.0.1:1")).await.unwrap();
        let mut body = response.into_body();
        let mut bytes = 0;
        for _ in 0..10 {
            bytes += next_frame(&mut body).await;
        }
        assert!(bytes > 5000);
        let limits = Limits::new([total(100_000), added.clone()]).unwrap();
        watched.publish(limits);
        let begin = Instant::now();
        let mut bytes = 0;
        while begin.elapsed() < Duration::from_secs(10) && bytes < 1_000_000 {
            bytes += next_frame(&mut body).await;
        }
        // What it held already of the other limit, the burst, and ten seconds.
        assert!((9000..14_000).contains(&bytes), "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_exempt_is_not_limited() {
    let limits = Limits::new([Limit::rate("total", Key::Total, 10).with_burst(10)])
        .unwrap()
        .with_exempt_path("/healthz")
        .with_exempt_group("operators")
        .with_exempt_principal("token:backup");
    let layer = ByteRateLayer::new(limits);
    let mut health = request(None, "10.0.0.1:1");
    *health.uri_mut() = "/healthz?verbose".parse().unwrap();
    let mut operator = request(None, "10.0.0.1:1");
    let principal = Principal::new(Shown::Certificate, "a").in_groups(["operators"]);
    operator.extensions_mut().insert(principal);
    let begin = Instant::now();
    for request in [health, operator, request(Some("backup"), "10.0.0.1:1")] {
        read(
            serving(&layer, 10_000)
                .oneshot(request)
                .await
                .unwrap()
                .into_body(),
        )
        .await;
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    read(
        serving(&layer, 20)
            .oneshot(request(Some("other"), "10.0.0.1:1"))
            .await
            .unwrap()
            .into_body(),
    )
    .await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
}
