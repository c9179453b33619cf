//! How a rate is shared, in paused time.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]
#![allow(clippy::cast_precision_loss, reason = "figures of a test")]

use crate::rate_support;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use portcullis::identity::{Method, Principal};
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits, Share, Tenant};
use portcullis::{ClientAddr, Watched};
use rate_support::{
    Endless, Reader, assert_near, during, jain, layer, read, request, serving, serving_body,
};
use tokio::time::Instant;
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);

fn shared(rate: u64, share: Share) -> ByteRateLayer {
    layer([Limit::rate("total", Key::Total, rate).with_share(share)])
}

fn by_principal() -> Share {
    Share::by(Key::Principal)
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_limit_are_served_alike_in_every_second() {
    for (rate, least) in [(1_000_000, 0.95), (10_000_000, 0.99), (100_000_000, 0.99)] {
        let layer = layer([Limit::rate("total", Key::Total, rate)]);
        let readers = Reader::many(&layer, "a", 64).await;
        let each: Vec<&[Reader]> = readers.chunks(1).collect();
        during(SECOND, &each).await;
        for _ in 0..5 {
            let bytes = during(SECOND, &each).await;
            assert!(jain(&bytes) >= least, "{rate}: {} {bytes:?}", jain(&bytes));
            assert_near(bytes.iter().sum(), rate, 0.01, "the total");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_a_hundred_streams_gets_what_one_with_one_stream_gets() {
    let layer = shared(10_000_000, by_principal());
    let greedy = Reader::many(&layer, "greedy", 100).await;
    let mut others = Vec::new();
    for tenant in 0..9 {
        others.push(Reader::start(&layer, &format!("tenant-{tenant}")).await);
    }
    let mut groups: Vec<&[Reader]> = others.chunks(1).collect();
    groups.push(&greedy);
    during(SECOND, &groups).await;
    for bytes in during(5 * SECOND, &groups).await {
        assert_near(bytes, 5_000_000, 0.02, "a tenth");
    }
    // And the hundred share their tenth equally.
    let each: Vec<&[Reader]> = greedy.chunks(1).collect();
    let bytes = during(10 * SECOND, &each).await;
    assert!(jain(&bytes) > 0.99, "{} {bytes:?}", jain(&bytes));
}

#[tokio::test(start_paused = true)]
async fn tenants_get_their_parts_by_weight() {
    let share = by_principal()
        .with_tenant("token:two", Tenant::weight(2))
        .with_tenant("token:four", Tenant::weight(4));
    for rate in [1_000_000, 70_000_000, 1_000_000_000] {
        let layer = shared(rate, share.clone());
        let one = Reader::many(&layer, "one", 1).await;
        let two = Reader::many(&layer, "two", 3).await;
        let four = Reader::many(&layer, "four", 1).await;
        let groups: [&[Reader]; 3] = [&one, &two, &four];
        during(SECOND, &groups).await;
        let bytes = during(7 * SECOND, &groups).await;
        for (bytes, weight) in bytes.into_iter().zip([1, 2, 4]) {
            assert_near(bytes, rate * weight, 0.02, "by weight");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_tenant_leaves_the_others_get() {
    let share = by_principal().with_tenant("token:slow", Tenant::weight(8).with_ceiling(1_000_000));
    let layer = shared(10_000_000, share);
    let slow = Reader::many(&layer, "slow", 4).await;
    let eager = Reader::many(&layer, "eager", 1).await;
    let groups: [&[Reader]; 2] = [&slow, &eager];
    during(SECOND, &groups).await;
    let bytes = during(5 * SECOND, &groups).await;
    assert_near(bytes[0], 5_000_000, 0.02, "its ceiling");
    assert_near(bytes[1], 45_000_000, 0.02, "all the rest");
    drop(slow);
    let groups: [&[Reader]; 1] = [&eager];
    during(SECOND, &groups).await;
    let bytes = during(SECOND, &groups).await;
    assert_near(bytes[0], 10_000_000, 0.01, "everything");
}

#[tokio::test(start_paused = true)]
async fn a_floor_is_kept_against_any_weight() {
    let share = by_principal()
        .with_tenant("token:small", Tenant::weight(1).with_floor(3_000_000))
        .with_tenant("token:big", Tenant::weight(1000));
    let layer = shared(10_000_000, share);
    let small = Reader::many(&layer, "small", 1).await;
    let big = Reader::many(&layer, "big", 20).await;
    let groups: [&[Reader]; 2] = [&small, &big];
    during(SECOND, &groups).await;
    let bytes = during(5 * SECOND, &groups).await;
    assert_near(bytes[0], 15_000_000, 0.02, "the floor");
    assert_near(bytes[1], 35_000_000, 0.02, "the rest");
}

#[tokio::test(start_paused = true)]
async fn a_floor_below_the_part_by_weight_takes_nothing_from_others() {
    let share = by_principal().with_tenant("token:a", Tenant::weight(1).with_floor(1_000_000));
    let layer = shared(10_000_000, share);
    let first = Reader::many(&layer, "a", 1).await;
    let second = Reader::many(&layer, "b", 1).await;
    let groups: [&[Reader]; 2] = [&first, &second];
    during(SECOND, &groups).await;
    for bytes in during(5 * SECOND, &groups).await {
        assert_near(bytes, 25_000_000, 0.02, "a half");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_tenant_has_its_part_within_100_ms() {
    let layer = shared(10_000_000, by_principal());
    let old = Reader::many(&layer, "old", 100).await;
    tokio::time::sleep(3 * SECOND).await;
    let new = Reader::many(&layer, "new", 1).await;
    let groups: [&[Reader]; 2] = [&new, &old];
    let bytes = during(Duration::from_millis(100), &groups).await;
    assert!(bytes[0] >= 450_000, "{bytes:?}");
    assert!(bytes[0] <= 600_000, "{bytes:?}");
}

#[tokio::test(start_paused = true)]
async fn groups_share_a_total_and_callers_have_limits_within_it() {
    let layer = layer([
        Limit::rate("total", Key::Total, 9_000_000)
            .with_share(Share::by(Key::Group).with_tenant("nodes", Tenant::weight(2))),
        Limit::rate("caller", Key::Principal, 2_000_000),
    ]);
    let of = |id: &str, group: &str| {
        let mut request = http::Request::new(Empty::<Bytes>::new());
        let principal = Principal::new(Method::Token, id).in_groups([group]);
        request.extensions_mut().insert(principal);
        request
    };
    let mut nodes = Vec::new();
    for node in 0..4 {
        nodes.push(Reader::start_with(&layer, of(&format!("node-{node}"), "nodes")).await);
    }
    let mut others = Vec::new();
    for other in 0..4 {
        others.push(Reader::start_with(&layer, of(&format!("other-{other}"), "others")).await);
    }
    let groups: [&[Reader]; 2] = [&nodes, &others];
    during(SECOND, &groups).await;
    let bytes = during(5 * SECOND, &groups).await;
    assert_near(bytes[0], 30_000_000, 0.02, "two thirds");
    assert_near(bytes[1], 15_000_000, 0.02, "a third");
    // One node alone is held by its own limit, and the others take what is left.
    nodes.truncate(1);
    let groups: [&[Reader]; 2] = [&nodes, &others];
    during(SECOND, &groups).await;
    let bytes = during(5 * SECOND, &groups).await;
    assert_near(bytes[0], 10_000_000, 0.02, "its own limit");
    assert_near(bytes[1], 35_000_000, 0.02, "what is left");
}

#[tokio::test(start_paused = true)]
async fn weights_change_on_streams_in_flight() {
    let limits = |weight| {
        let share = by_principal().with_tenant("token:a", Tenant::weight(weight));
        Limits::new([Limit::rate("total", Key::Total, 1_000_000).with_share(share)]).unwrap()
    };
    let watched = Watched::fixed(limits(1));
    let layer = ByteRateLayer::watching(watched.clone());
    let first = Reader::many(&layer, "a", 2).await;
    let second = Reader::many(&layer, "b", 2).await;
    let groups: [&[Reader]; 2] = [&first, &second];
    during(SECOND, &groups).await;
    let bytes = during(2 * SECOND, &groups).await;
    assert_near(bytes[0], 1_000_000, 0.02, "a half");
    watched.publish(limits(4));
    during(Duration::from_millis(50), &groups).await;
    let bytes = during(5 * SECOND, &groups).await;
    assert_near(bytes[0], 4_000_000, 0.02, "four fifths");
    assert_near(bytes[1], 1_000_000, 0.03, "one fifth");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_holds_no_share() {
    let layer = shared(1_000_000, by_principal());
    let mut stalled = Vec::new();
    for tenant in 0..50 {
        let request = request(Some(&format!("stalled-{tenant}")), "10.0.0.1:1");
        let response = serving_body(&layer, || Endless)
            .oneshot(request)
            .await
            .unwrap();
        let mut body = response.into_body();
        // Asks once, and is not seen again.
        let _ = tokio::time::timeout(Duration::from_millis(1), body.frame()).await;
        stalled.push(body);
    }
    let reader = Reader::many(&layer, "eager", 1).await;
    let groups: [&[Reader]; 1] = [&reader];
    during(SECOND, &groups).await;
    let bytes = during(2 * SECOND, &groups).await;
    assert_near(bytes[0], 2_000_000, 0.01, "everything");
}

#[tokio::test(start_paused = true)]
async fn the_queue_moves_on_if_the_one_who_is_woken_never_comes() {
    let layer = layer([Limit::rate("total", Key::Total, 10_000).with_burst(2000)]);
    let open = || serving(&layer, 5000).oneshot(request(None, "10.0.0.1:1"));
    let mut absent = Vec::new();
    for _ in 0..3 {
        let mut body = open().await.unwrap().into_body();
        // Reads until it is made to wait, and is then never polled again, nor dropped.
        let waits = async { while body.frame().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::ZERO, waits).await;
        absent.push(body);
    }
    let begin = Instant::now();
    read(open().await.unwrap().into_body()).await;
    let took = begin.elapsed();
    assert!(took <= Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_streams_progress_together() {
    let layer = shared(100_000_000, Share::by(Key::Source));
    let mut readers = Vec::new();
    for stream in 0..20_000_u32 {
        let mut request = request(None, "10.0.0.1:1");
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + stream / 20);
        request
            .extensions_mut()
            .insert(ClientAddr::new((address, 1).into()));
        readers.push(Reader::start_with(&layer, request).await);
    }
    let all: [&[Reader]; 1] = [&readers];
    let bytes = during(20 * SECOND, &all).await;
    assert_near(bytes[0], 2_000_000_000, 0.01, "the rate");
    let least = readers.iter().map(Reader::bytes).min();
    assert!(least > Some(0));
}
