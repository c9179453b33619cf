//! What a byte-rate limit refuses, cuts and tells, in paused time.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]

use crate::rate_support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::oci::Endpoint;
use portcullis::rate::{
    ByteRateLayer, Key, Limit, Limits, LimitsError, Share, StallTimeout, Tenant, Window,
};
use portcullis::record::{Cut, Record};
use portcullis::{Preset, Refusal, Responder, Watched};
use rate_support::{Answer, Endless, Reader, layer, read, request, serving, serving_body, total};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

async fn get(layer: &ByteRateLayer, bytes: usize, principal: &str) -> Answer {
    serving(layer, bytes)
        .oneshot(request(Some(principal), "10.0.0.1:1"))
        .await
        .unwrap()
}

fn refusal(answer: &Answer) -> Option<Refusal> {
    answer.extensions().get().copied()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_would_wait_too_long_is_shed_with_an_integer_retry_after() {
    for (preset, status) in [(Preset::Mirror, 503), (Preset::Registry, 429)] {
        let layer = layer([Limit::rate("total", Key::Total, 100_000)
            .with_burst(1000)
            .with_max_wait(Duration::from_millis(50))])
        .with_responder(Responder::new(preset));
        let busy = Reader::many(&layer, "a", 40).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begin = Instant::now();
        let answer = get(&layer, 10, "b").await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(answer.status(), status);
        assert!(matches!(
            refusal(&answer),
            Some(Refusal::RateExceeded { .. })
        ));
        let retry_after: u32 = answer.headers()[RETRY_AFTER]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=60).contains(&retry_after));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{\"errors\":[{\"code\":"), "{body:?}");
        drop(busy);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(get(&layer, 10, "b").await.status(), 200);
    }
}

/// A wait of exactly the bound is none that is too long.
#[tokio::test(start_paused = true)]
async fn where_no_request_may_wait_one_that_need_not_is_answered() {
    let layer = layer([Limit::rate("total", Key::Total, 100_000)
        .with_burst(1000)
        .with_max_wait(Duration::ZERO)]);
    assert_eq!(get(&layer, 10, "a").await.status(), 200);
    let busy = Reader::many(&layer, "a", 4).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(get(&layer, 10, "b").await.status(), 503);
    drop(busy);
}

#[tokio::test(start_paused = true)]
async fn a_greedy_tenants_queue_does_not_get_another_tenant_shed() {
    let layer = layer([Limit::rate("total", Key::Total, 100_000)
        .with_share(Share::by(Key::Principal))
        .with_max_wait(Duration::from_millis(200))]);
    let busy = Reader::many(&layer, "greedy", 10).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    // Before anybody waits none is shed; now the greedy one's own queue is long.
    let more = Reader::many(&layer, "greedy", 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(get(&layer, 10, "other").await.status(), 200);
    drop((busy, more));
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_would_take_too_long_by_its_length_is_shed() {
    let longest = Duration::from_secs(10);
    let layer = layer([Limit::rate("total", Key::Total, 1000).with_max_transfer(longest)]);
    let record = Record::default();
    let mut long = request(Some("a"), "10.0.0.1:1");
    long.extensions_mut().insert(record.clone());
    // The burst, which is there at once, and a byte more than ten seconds give.
    let most = 16 * 1024 + 10_000;
    let answer = serving(&layer, most + 1).oneshot(long).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(matches!(
        record.refusal(),
        Some(Refusal::RateExceeded { .. })
    ));
    assert_eq!(record.detail(), Some("limit total"));
    let answer = get(&layer, most, "a").await;
    assert_eq!(answer.status(), 200);
    // Without the burst there is no more than the rate.
    let mut body = answer.into_body();
    while let Ok(frame) = tokio::time::timeout(Duration::ZERO, body.frame()).await {
        frame.unwrap().unwrap();
    }
    drop(body);
    for (bytes, status) in [(9_999, 200), (12_000, 503)] {
        assert_eq!(get(&layer, bytes, "a").await.status(), status, "{bytes}");
    }
    // A length that is not known is none that is too long.
    let endless = serving_body(&layer, || Endless);
    let answer = endless
        .oneshot(request(Some("a"), "10.0.0.1:1"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_body_is_never_refused() {
    let limits = Limits::new([
        Limit::rate("total", Key::Total, 1000).with_max_wait(Duration::from_millis(1)),
        Limit::streams("streams", Key::Total, 1),
        Limit::quota("quota", Key::Total, 1, Window::Hour),
    ]);
    let layer = ByteRateLayer::new(limits.unwrap());
    for _ in 0..3 {
        let service = layer.layer(tower::service_fn(|request: Request<_>| async move {
            let sent = total(&read(request.into_body()).await);
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![0; sent]))))
        }));
        let request = Request::new(Full::new(Bytes::from(vec![0; 20_000])));
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(total(&read(response.into_body()).await), 20_000);
    }
    let answer = get(&layer, 1, "a").await;
    assert!(matches!(
        refusal(&answer),
        Some(Refusal::QuotaExceeded { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn no_more_streams_are_in_flight_than_the_cap_until_one_ends_or_is_dropped() {
    let layer = layer([
        Limit::streams("each", Key::Principal, 2),
        Limit::streams("all", Key::Total, 3),
    ]);
    let first = get(&layer, 10, "a").await;
    let second = get(&layer, 10, "a").await;
    let third = get(&layer, 10, "a").await;
    assert_eq!(third.status(), 503);
    assert!(matches!(
        refusal(&third),
        Some(Refusal::StreamsExceeded { .. })
    ));
    let other = get(&layer, 10, "b").await;
    assert_eq!(other.status(), 200);
    assert_eq!(get(&layer, 10, "c").await.status(), 503);
    drop(first);
    assert_eq!(get(&layer, 10, "c").await.status(), 200);
    second.into_body().collect().await.unwrap();
    assert_eq!(get(&layer, 10, "a").await.status(), 200);
}

/// A calendar that a test turns.
#[derive(Clone, Default)]
struct Calendar(Arc<AtomicU64>);

impl Calendar {
    fn layer(&self, limits: Limits) -> ByteRateLayer {
        let seconds = Arc::clone(&self.0);
        let now = move || -> SystemTime {
            UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed))
        };
        ByteRateLayer::with_calendar(Watched::fixed(limits), now)
    }

    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_refuses_until_the_window_ends_and_counts_what_was_sent() {
    let calendar = Calendar::default();
    calendar.set(86_400 * 20_000 + 86_400 - 90);
    let quota = Limit::quota("daily", Key::Principal, 1000, Window::Day);
    let layer = calendar.layer(Limits::new([quota]).unwrap().with_headers(true));
    let registry = Responder::new(Preset::Registry);
    let answer = get(&layer, 600, "a").await;
    assert_eq!(
        answer.headers()["ratelimit-policy"],
        "\"daily.quota\";q=1000;w=86400;qu=\"content-bytes\""
    );
    assert_eq!(answer.headers()["ratelimit"], "\"daily.quota\";r=1000;t=90");
    answer.into_body().collect().await.unwrap();
    // Begun within the quota, it is finished beyond it.
    let answer = get(&layer, 600, "a").await;
    assert_eq!(answer.headers()["ratelimit"], "\"daily.quota\";r=400;t=90");
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes().len(),
        600
    );
    // containerd goes on to its next host after a 503, and repeats a 429 at once.
    for (layer, status, code) in [
        (layer.clone(), 503, "UNAVAILABLE"),
        (
            layer.clone().with_responder(registry),
            429,
            "TOOMANYREQUESTS",
        ),
    ] {
        let answer = get(&layer, 1, "a").await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()[RETRY_AFTER], "90");
        assert_eq!(
            refusal(&answer),
            Some(Refusal::QuotaExceeded { retry_after: 90 })
        );
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains(code), "{body}");
    }
    assert_eq!(get(&layer, 1, "b").await.status(), 200);
    calendar.set(86_400 * 20_001);
    assert_eq!(get(&layer, 1, "a").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_cuts_lets_pass_what_is_left_to_the_byte() {
    let quota = Limit::quota("monthly", Key::Principal, 1000, Window::Month).with_cut(true);
    let layer = layer([quota]);
    get(&layer, 400, "a")
        .await
        .into_body()
        .collect()
        .await
        .unwrap();
    let record = Record::default();
    let mut request = request(Some("a"), "10.0.0.1:1");
    request.extensions_mut().insert(record.clone());
    let mut body = serving(&layer, 5000)
        .oneshot(request)
        .await
        .unwrap()
        .into_body();
    let mut bytes = 0;
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(frame) => bytes += frame.into_data().unwrap().len(),
            Err(error) => break error,
        }
    };
    assert_eq!(bytes, 600);
    assert_eq!(error, Cut::QuotaExceeded.to_string());
    assert_eq!(record.cut_by(), Some(Cut::QuotaExceeded));
}

#[tokio::test(start_paused = true)]
async fn what_a_quota_cuts_of_a_small_body_is_not_charged_to_a_rate() {
    let quota = Limit::quota("quota", Key::Principal, 100, Window::Hour).with_cut(true);
    let layer = layer([
        Limit::rate("rate", Key::Total, 1000).with_burst(1000),
        quota,
    ]);
    let begin = Instant::now();
    for caller in ["a", "b", "c", "d"] {
        let mut body = get(&layer, 900, caller).await.into_body();
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.into_data().unwrap().len();
        }
        assert_eq!(bytes, 100);
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_a_quota_counted_is_what_was_sent_even_if_the_client_goes_away() {
    let quota = Limit::quota("daily", Key::Principal, 1 << 40, Window::Day);
    let rate = Limit::rate("rate", Key::Principal, 1_000_000);
    let limits = Limits::new([quota, rate]).unwrap().with_headers(true);
    let layer = ByteRateLayer::new(limits);
    let mut sent = 0;
    for _ in 0..50 {
        let mut body = get(&layer, 100_000, "a").await.into_body();
        for _ in 0..3 {
            sent += body
                .frame()
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap()
                .len();
        }
    }
    let answer = get(&layer, 1, "a").await;
    let told = answer.headers()["ratelimit"].to_str().unwrap();
    let rest = (1_u64 << 40) - sent as u64;
    assert!(
        told.contains(&format!("\"daily.quota\";r={rest};")),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reader_below_the_minimum_progress_is_ended_and_a_throttled_one_is_not() {
    let limits = Limits::new([Limit::rate("total", Key::Total, 1000).with_burst(4000)]).unwrap();
    let limits = limits
        .with_min_progress(10_000, Duration::from_secs(5))
        .unwrap();
    let layer = ByteRateLayer::new(limits);
    // Held back to a tenth of the least progress, but by the limit.
    assert_eq!(
        total(&read(get(&layer, 30_000, "a").await.into_body()).await),
        30_000
    );
    let record = Record::default();
    let mut request = request(Some("a"), "10.0.0.1:1");
    request.extensions_mut().insert(record.clone());
    let mut body = serving(&layer, 1_000_000)
        .oneshot(request)
        .await
        .unwrap()
        .into_body();
    let begin = Instant::now();
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Cut::TooSlow.to_string());
    assert_eq!(record.cut_by(), Some(Cut::TooSlow));
    assert!(
        begin.elapsed() < Duration::from_secs(9),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn rates_are_told_in_header_fields_only_if_asked_for() {
    let limit = Limit::rate("caller", Key::Principal, 5000).with_burst(20_000);
    let limits = Limits::new([limit, Limit::rate("total", Key::Total, 1_000_000)]).unwrap();
    let quiet = get(&ByteRateLayer::new(limits.clone()), 100, "a").await;
    assert!(!quiet.headers().contains_key("ratelimit"));
    let layer = ByteRateLayer::new(limits.with_headers(true));
    get(&layer, 100, "a")
        .await
        .into_body()
        .collect()
        .await
        .unwrap();
    let answer = get(&layer, 100, "a").await;
    assert_eq!(
        answer.headers()["ratelimit-policy"],
        "\"caller\";q=5000;w=1;qu=\"content-bytes\""
    );
    assert_eq!(answer.headers()["ratelimit"], "\"caller\";r=19900;t=1");
}

#[tokio::test(start_paused = true)]
async fn small_manifests_and_chosen_callers_pass_free() {
    let limits = Limits::new([Limit::rate("anonymous", Key::Source, 10)
        .with_burst(10)
        .of_anonymous()])
    .unwrap()
    .with_exempt_small(Endpoint::Manifest, 1000);
    let layer = ByteRateLayer::new(limits);
    let begin = Instant::now();
    let pull = |path: &'static str, bytes| {
        let mut request = request(None, "10.0.0.1:1");
        *request.uri_mut() = path.parse().unwrap();
        let service = serving(&layer, bytes);
        async move { read(service.oneshot(request).await.unwrap().into_body()).await }
    };
    pull("/v2/library/busybox/manifests/latest", 1000).await;
    assert_eq!(
        total(&read(get(&layer, 10_000, "named").await.into_body()).await),
        10_000
    );
    assert_eq!(begin.elapsed(), Duration::ZERO);
    pull("/v2/library/busybox/tags/list", 30).await;
    assert!(begin.elapsed() >= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn no_limit_refuses_a_small_manifest_and_each_refuses_a_large_one() {
    let rate = Limit::rate("rate", Key::Total, 1000).with_burst(1000);
    for limit in [
        rate.with_max_wait(Duration::from_millis(1)),
        Limit::streams("streams", Key::Total, 1),
        Limit::quota("quota", Key::Total, 1, Window::Hour),
    ] {
        let limits = Limits::new([limit]).unwrap();
        let limits = limits.with_exempt_small(Endpoint::Manifest, 1000);
        let layer = ByteRateLayer::new(limits);
        let asked = |path: &str| {
            let mut request = request(None, "10.0.0.1:1");
            *request.uri_mut() = path.parse().unwrap();
            request
        };
        let pull = async |path: &str, bytes| {
            let answer = serving(&layer, bytes).oneshot(asked(path)).await;
            answer.unwrap()
        };
        let blob = format!("/v2/a/blobs/sha256:{}", "0".repeat(64));
        // It takes all that there is, and goes on asking.
        let busy = Reader::start_with(&layer, asked(&blob)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(busy.bytes() >= 1000);
        let begin = Instant::now();
        let open = pull(&blob, 100_000).await;
        let small = pull("/v2/a/manifests/1", 1000).await;
        assert_eq!(small.status(), 200);
        assert_eq!(total(&read(small.into_body()).await), 1000);
        let large = pull("/v2/a/manifests/1", 1001).await;
        assert_eq!(open.status(), 503);
        assert_eq!(large.status(), 503);
        assert!(refusal(&large).is_some());
        assert_eq!(begin.elapsed(), Duration::ZERO);
        drop(busy);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_pull_is_not_shed() {
    let layer = layer([Limit::rate("total", Key::Total, 1000)
        .with_burst(1000)
        .with_max_wait(Duration::from_millis(1))
        .with_max_transfer(Duration::from_secs(1))]);
    let busy = Reader::many(&layer, "a", 10).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (method, status) in [
        (http::Method::GET, 503),
        (http::Method::HEAD, 503),
        (http::Method::POST, 200),
        (http::Method::DELETE, 200),
    ] {
        let mut request = request(None, "10.0.0.1:1");
        *request.method_mut() = method.clone();
        let answer = serving(&layer, 100_000).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{method}");
    }
    drop(busy);
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_a_quota_ended_does_not_go_on_in_the_next_window() {
    let calendar = Calendar::default();
    let limit = Limit::quota("hourly", Key::Total, 1000, Window::Hour).with_cut(true);
    let layer = calendar.layer(Limits::new([limit]).unwrap());
    let mut body = get(&layer, 5000, "a").await.into_body();
    while body.frame().await.unwrap().is_ok() {}
    calendar.set(3600);
    for _ in 0..3 {
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error, Cut::QuotaExceeded.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn repositories_have_rates_of_their_own_and_what_names_none_is_free() {
    let layer = layer([Limit::rate("repository", Key::Repository, 10_000).with_burst(1000)]);
    let begin = Instant::now();
    let pull = |path: &'static str| {
        let mut request = request(None, "10.0.0.1:1");
        *request.uri_mut() = path.parse().unwrap();
        let service = serving(&layer, 11_000);
        async move {
            read(service.oneshot(request).await.unwrap().into_body()).await;
            begin.elapsed().as_secs_f64()
        }
    };
    let (first, second, free) = tokio::join!(
        pull("/v2/library/one/manifests/latest"),
        pull("/v2/library/two/manifests/latest"),
        pull("/elsewhere"),
    );
    assert!((0.99..1.05).contains(&first), "{first}");
    assert!((0.99..1.05).contains(&second), "{second}");
    assert!(free < 0.001, "{free}");
}

#[test]
fn wrong_limits_are_errors_that_name_the_limit() {
    let rate = |rate| Limit::rate("x", Key::Total, rate);
    let wait = Duration::from_secs(1);
    let share = |tenant| rate(1000).with_share(Share::by(Key::Group).with_tenant("t", tenant));
    for (limits, message) in [
        (vec![Limit::rate("a b", Key::Total, 1)], "a name is"),
        (vec![rate(1), rate(2)], "another limit has this name"),
        (vec![rate(0)], "are 1 at least"),
        (vec![rate(1 << 50)], "is above 1000000000000"),
        (vec![rate(1_000_000).with_burst(100)], "is not between 4000"),
        (vec![rate(1).with_burst(u64::MAX)], "is not between"),
        (vec![Limit::streams("x", Key::Total, 0)], "are 1 at least"),
        (
            vec![Limit::streams("x", Key::Stream, 1)],
            "can only have a rate",
        ),
        (
            vec![Limit::streams("x", Key::Total, 1).with_burst(1)],
            "need a rate",
        ),
        (
            vec![share(Tenant::weight(0))],
            "is not between 1 and 1000000",
        ),
        (
            vec![share(Tenant::weight(1).with_ceiling(0))],
            "floor <= ceiling",
        ),
        (
            vec![share(Tenant::weight(1).with_floor(9).with_ceiling(8))],
            "floor <= ceiling",
        ),
        (
            vec![share(Tenant::weight(1).with_floor(1001))],
            "above the rate 1000",
        ),
        (
            vec![rate(1000).with_share(Share::by(Key::Total))],
            "own key",
        ),
        (
            vec![rate(1000).with_max_wait(wait).of_requests()],
            "only pulls are shed",
        ),
        (
            vec![Limit::rate("x", Key::Stream, 1000).with_max_wait(wait)],
            "can only have a rate",
        ),
        (
            vec![Limit::rate("x", Key::Stream, 1000).with_share(Share::by(Key::Group))],
            "can only have a rate",
        ),
    ] {
        let error = Limits::new(limits).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    assert_eq!(
        Limits::new([])
            .unwrap()
            .with_source_prefixes(33, 64)
            .unwrap_err(),
        LimitsError::Prefix { ipv4: 33, ipv6: 64 }
    );
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_none_is_forgotten_that_owes() {
    let limits = Limits::new([Limit::rate("source", Key::Source, 1000).with_burst(1000)])
        .unwrap()
        .with_max_keys(512);
    let layer = ByteRateLayer::new(limits);
    let take = |address: u32| {
        let mut request = request(None, "10.0.0.1:1");
        let address = std::net::Ipv4Addr::from_bits(address);
        let client = portcullis::ClientAddr::new((address, 1).into());
        request.extensions_mut().insert(client);
        let service = serving(&layer, 1000);
        async move {
            let begin = Instant::now();
            let body = service.oneshot(request).await.unwrap().into_body();
            let _ = tokio::time::timeout(Duration::from_secs(60), read(body)).await;
            begin.elapsed()
        }
    };
    let debtor = 7;
    assert_eq!(take(debtor).await, Duration::ZERO);
    let others = (0..5000_u32).map(|other| tokio::spawn(take(1000 + other)));
    let others: Vec<_> = others.collect();
    // However many come: the first still owes its second.
    let wait = take(debtor).await;
    assert!(wait >= Duration::from_millis(900), "{wait:?}");
    assert!(layer.keys("source") <= 512, "{}", layer.keys("source"));
    for other in others {
        other.await.unwrap();
    }
    // Debts paid, there is room for others again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begin = Instant::now();
    for other in 0..200 {
        take(100_000 + other).await;
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_ended_by_its_connection_and_the_record_says_why() {
    let limits = Limits::new([]).unwrap();
    let limits = limits
        .with_min_progress(1_000_000, Duration::from_secs(5))
        .unwrap();
    let record = Record::default();
    let (mut client, server) = tokio::io::duplex(1024);
    let stalled = StallTimeout::new(server, Duration::from_secs(10));
    let layer = ByteRateLayer::new(limits);
    let noted = record.clone();
    let service = tower::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(noted.clone());
        let endless = tower::service_fn(|_: Request<_>| async {
            Ok::<_, Infallible>(Response::new(Endless))
        });
        layer.layer(endless).oneshot(request)
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(
        hyper_util::rt::TokioIo::new(stalled),
        hyper_util::service::TowerToHyperService::new(service),
    );
    let asking = async {
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut client, get)
            .await
            .unwrap();
    };
    let begin = Instant::now();
    let ((), ended) = tokio::join!(asking, serving);
    ended.unwrap_err();
    assert_eq!(begin.elapsed().as_secs(), 10);
    assert_eq!(record.cut_by(), Some(Cut::TooSlow));
}
