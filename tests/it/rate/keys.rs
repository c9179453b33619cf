//! By what limits charge, and from how little to how much, in paused time.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]
#![allow(clippy::cast_precision_loss, reason = "figures of a test")]

use crate::rate_support;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::Empty;
use portcullis::identity::{Method as Shown, Principal};
use portcullis::rate::{ByteRateLayer, Key, Keyed, Limit, Limits, MAX_BURST, MAX_RATE};
use portcullis::{ClientAddr, Connection};
use rate_support::{Frames, layer, read, request, serving, serving_body, total};
use tokio::time::Instant;
use tower::ServiceExt;

const SOURCE: &str = "10.0.0.1:1";

/// A limit of 10 kB/s after a first kilobyte.
fn slow(key: Key) -> Limit {
    Limit::rate("slow", key, 10_000).with_burst(1000)
}

/// How long these take together, in seconds, if each is answered with 6,000 bytes.
async fn seconds(layer: &ByteRateLayer, requests: Vec<Request<Empty<Bytes>>>) -> f64 {
    let begin = Instant::now();
    let mut reading = tokio::task::JoinSet::new();
    for request in requests {
        let answer = serving(layer, 6000).oneshot(request).await.unwrap();
        reading.spawn(read(answer.into_body()));
    }
    reading.join_all().await;
    begin.elapsed().as_secs_f64()
}

fn assert_takes(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 0.06,
        "{found} s instead of {expected} s"
    );
}

/// Half a second each of their own, 1.1 s where both are charged to one.
const APART: f64 = 0.5;
const TOGETHER: f64 = 1.1;

fn at(path: &str) -> Request<Empty<Bytes>> {
    let mut request = request(None, SOURCE);
    *request.uri_mut() = path.parse().unwrap();
    request
}

fn in_groups(id: &str, groups: &[&str]) -> Request<Empty<Bytes>> {
    let mut request = request(None, SOURCE);
    let principal = Principal::new(Shown::Token, id).in_groups(groups.iter().copied());
    request.extensions_mut().insert(principal);
    request
}

#[tokio::test(start_paused = true)]
async fn a_group_has_one_rate_and_a_caller_of_several_is_charged_in_each() {
    let limited = || layer([slow(Key::Group)]);
    let both = vec![in_groups("a", &["nodes"]), in_groups("b", &["nodes"])];
    assert_takes(seconds(&limited(), both).await, TOGETHER);
    let each = vec![in_groups("a", &["nodes"]), in_groups("b", &["ci"])];
    assert_takes(seconds(&limited(), each).await, APART);
    let of_two = vec![in_groups("a", &["nodes", "ci"]), in_groups("b", &["ci"])];
    assert_takes(seconds(&limited(), of_two).await, TOGETHER);
    let of_none = vec![in_groups("a", &[]), request(None, SOURCE)];
    assert_takes(seconds(&limited(), of_none).await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_source_is_an_ipv4_address_or_an_ipv6_64_or_as_the_operator_says() {
    let from = |sources: [&str; 2]| sources.map(|source| request(None, source)).into();
    let limits = || Limits::new([slow(Key::Source)]).unwrap();
    let narrow = || ByteRateLayer::new(limits());
    let wide = || ByteRateLayer::new(limits().with_source_prefixes(24, 48).unwrap());
    for (sources, by_default, by_choice) in [
        (["10.0.0.1:1", "10.0.0.1:2"], TOGETHER, TOGETHER),
        (["10.0.0.1:1", "10.0.0.2:1"], APART, TOGETHER),
        (["10.0.0.1:1", "10.0.1.1:1"], APART, APART),
        (
            ["[2001:db8::1]:1", "[2001:db8::ffff:1]:1"],
            TOGETHER,
            TOGETHER,
        ),
        (["[2001:db8::1]:1", "[2001:db8:0:1::1]:1"], APART, TOGETHER),
        (["[2001:db8::1]:1", "[2001:db8:1::1]:1"], APART, APART),
    ] {
        assert_takes(seconds(&narrow(), from(sources)).await, by_default);
        assert_takes(seconds(&wide(), from(sources)).await, by_choice);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_registry_has_one_rate_whatever_the_repository() {
    let limited = || layer([slow(Key::Registry)]);
    let hub = "/v2/library/one/manifests/1?ns=docker.io";
    let same = vec![at(hub), at("/v2/library/two/manifests/1?ns=docker.io")];
    assert_takes(seconds(&limited(), same).await, TOGETHER);
    let two = vec![at(hub), at("/v2/library/one/manifests/1?ns=quay.io")];
    assert_takes(seconds(&limited(), two).await, APART);
    let unnamed = vec![at("/v2/library/one/manifests/1"), at("/")];
    assert_takes(seconds(&limited(), unnamed).await, 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_one_rate_whatever_comes_over_it() {
    let peer: SocketAddr = SOURCE.parse().unwrap();
    let over = |connection: &Connection| {
        let mut request = request(None, SOURCE);
        request.extensions_mut().insert(connection.clone());
        request
    };
    let [one, other] = [(); 2].map(|()| Connection::builder(peer).build());
    let limited = || layer([slow(Key::Connection)]);
    let same = vec![over(&one), over(&one)];
    assert_takes(seconds(&limited(), same).await, TOGETHER);
    let two = vec![over(&one), over(&other)];
    assert_takes(seconds(&limited(), two).await, APART);
    // Where no connection was put there, by the client's port.
    let ports = vec![request(None, SOURCE), request(None, "10.0.0.1:2")];
    assert_takes(seconds(&limited(), ports).await, APART);
}

#[tokio::test(start_paused = true)]
async fn each_stream_has_its_own_rate_under_what_all_have() {
    let same = || vec![request(Some("a"), SOURCE), request(Some("a"), SOURCE)];
    assert_takes(seconds(&layer([slow(Key::Stream)]), same()).await, APART);
    let total = Limit::rate("total", Key::Total, 10_000).with_burst(1000);
    let both = layer([slow(Key::Stream), total]);
    assert_takes(seconds(&both, same()).await, TOGETHER);
}

#[tokio::test(start_paused = true)]
async fn empty_frames_and_trailers_pass_even_if_there_is_no_credit() {
    let layer = layer([Limit::rate("total", Key::Total, 1).with_burst(1)]);
    read(
        serving(&layer, 1)
            .oneshot(request(None, SOURCE))
            .await
            .unwrap()
            .into_body(),
    )
    .await;
    let begin = Instant::now();
    let empty = serving_body(&layer, || {
        let frames = [Frame::data(Bytes::new()), Frame::trailers(HeaderMap::new())];
        Frames(VecDeque::from(frames))
    });
    read(
        empty
            .oneshot(request(None, SOURCE))
            .await
            .unwrap()
            .into_body(),
    )
    .await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    read(
        serving(&layer, 1)
            .oneshot(request(None, SOURCE))
            .await
            .unwrap()
            .into_body(),
    )
    .await;
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn one_byte_a_second_is_one_byte_a_second() {
    let layer = layer([Limit::rate("total", Key::Total, 1).with_burst(1)]);
    let answer = serving(&layer, 61).oneshot(request(None, SOURCE)).await;
    let begin = Instant::now();
    let sent = read(answer.unwrap().into_body()).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(60));
    assert_eq!(sent.len(), 61);
    rate_support::assert_conforms(&sent, 1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_terabyte_a_second_is_a_terabyte_a_second() {
    static MEBIBYTE: [u8; 1 << 20] = [0; 1 << 20];

    // 4 ms at the rate, the smallest there may be.
    let burst = MAX_RATE / 250;
    let layer = layer([Limit::rate("total", Key::Total, MAX_RATE).with_burst(burst)]);
    let frames = 24_000;
    let service = serving_body(&layer, move || {
        let frame = || Frame::data(Bytes::from_static(&MEBIBYTE));
        Frames((0..frames).map(|_| frame()).collect())
    });
    let answer = service.oneshot(request(None, SOURCE)).await.unwrap();
    let begin = Instant::now();
    let sent = read(answer.into_body()).await;
    let took = begin.elapsed().as_secs_f64();
    let bytes = frames << 20;
    assert_eq!(total(&sent), bytes);
    let expected = (bytes as f64 - burst as f64) / MAX_RATE as f64;
    // The timer's grain is a millisecond.
    assert!(
        (expected..expected + 0.0021).contains(&took),
        "{took} s instead of {expected} s"
    );
}

#[tokio::test(start_paused = true)]
async fn the_largest_burst_is_all_there_at_once() {
    let layer = layer([Limit::rate("total", Key::Total, 1).with_burst(MAX_BURST)]);
    let begin = Instant::now();
    let sent = serving(&layer, 50_000_000)
        .oneshot(request(None, SOURCE))
        .await;
    let sent = read(sent.unwrap().into_body()).await;
    assert_eq!(total(&sent), 50_000_000);
    assert!(sent.len() < 1000, "in {} pieces", sent.len());
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_million_keys_take_64_bytes_each_at_most_and_go_when_their_debt_is_paid() {
    let limit = Limit::rate("source", Key::Source, 1000).with_burst(1000);
    let most = 1_200_000;
    let keyed = Keyed::new(&limit, most).unwrap();
    for key in 0..1_000_000_u32 {
        assert!(keyed.take(key, 1000).is_ok());
    }
    assert_eq!(keyed.len(), 1_000_000);
    let each = keyed.memory() as f64 / 1e6;
    assert!(each <= 64.0, "{each} bytes a key");
    // None is forgotten that owes.
    assert!((0..1_000_000_u32).all(|key| keyed.take(key, 1000).is_err()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for key in 1_000_000..2_000_000_u32 {
        assert!(keyed.take(key, 1000).is_ok());
    }
    assert!(keyed.len() <= most, "{}", keyed.len());
    assert!(keyed.memory() as f64 / 1e6 <= 64.0);
}

#[tokio::test(start_paused = true)]
async fn clients_without_an_address_are_one_source() {
    let unknown = || {
        let mut request = request(None, SOURCE);
        request.extensions_mut().remove::<ClientAddr>();
        request
    };
    let both = vec![unknown(), unknown()];
    assert_takes(seconds(&layer([slow(Key::Source)]), both).await, TOGETHER);
}
