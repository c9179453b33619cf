//! What tenants are sure of, and what they never pass, in paused time.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]

use crate::rate_support;

use std::time::Duration;

use portcullis::Watched;
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits, Share, Tenant};
use rate_support::{Reader, assert_near, during, jain, layer};

const SECOND: Duration = Duration::from_secs(1);
const RATE: u64 = 10_000_000;

/// A total of 10 MB/s, shared by these tenants and by others of this kind.
fn total(others: Tenant, tenants: &[(&str, Tenant)]) -> Limit {
    let share = Share::by(Key::Principal).with_default(others);
    let share = tenants.iter().fold(share, |share, &(name, tenant)| {
        share.with_tenant(format!("token:{name}"), tenant)
    });
    Limit::rate("total", Key::Total, RATE).with_share(share)
}

fn limits(tenants: &[(&str, Tenant)]) -> Limits {
    Limits::new([total(Tenant::default(), tenants)]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_loses_its_floor_goes_on_with_its_part() {
    let floor = [
        ("small", Tenant::weight(1).with_floor(3_000_000)),
        ("big", Tenant::weight(1000)),
    ];
    let watched = Watched::fixed(limits(&floor));
    let layer = ByteRateLayer::watching(watched.clone());
    let small = Reader::many(&layer, "small", 1).await;
    let big = Reader::many(&layer, "big", 2).await;
    let groups: [&[Reader]; 2] = [&small, &big];
    let bytes = during(30 * SECOND, &groups).await;
    assert_near(bytes[0], 90_000_000, 0.02, "the floor");
    watched.publish(limits(&[]));
    during(Duration::from_millis(100), &groups).await;
    for bytes in during(SECOND, &groups).await {
        assert_near(bytes, RATE / 2, 0.02, "a half");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_a_floor_has_its_part_beside_one_that_comes() {
    let layer = layer([total(
        Tenant::default(),
        &[
            ("small", Tenant::weight(1).with_floor(3_000_000)),
            ("big", Tenant::weight(1000)),
        ],
    )]);
    let small = Reader::many(&layer, "small", 1).await;
    let big = Reader::many(&layer, "big", 2).await;
    tokio::time::sleep(30 * SECOND).await;
    drop(big);
    let new = Reader::many(&layer, "new", 1).await;
    let groups: [&[Reader]; 2] = [&small, &new];
    during(Duration::from_millis(100), &groups).await;
    for bytes in during(SECOND, &groups).await {
        assert_near(bytes, RATE / 2, 0.02, "a half");
    }
}

#[tokio::test(start_paused = true)]
async fn several_floors_are_kept_at_once_small_ones_too() {
    let layer = layer([total(
        Tenant::default(),
        &[
            ("a", Tenant::weight(1).with_floor(4_000_000)),
            ("b", Tenant::weight(1).with_floor(2_000_000)),
            ("c", Tenant::weight(1).with_floor(100_000)),
            ("big", Tenant::weight(100_000)),
        ],
    )]);
    let mut readers = Vec::new();
    for (name, streams) in [("a", 1), ("b", 3), ("c", 2), ("big", 20)] {
        readers.push(Reader::many(&layer, name, streams).await);
    }
    let groups: Vec<&[Reader]> = readers.iter().map(Vec::as_slice).collect();
    during(SECOND, &groups).await;
    let bytes = during(10 * SECOND, &groups).await;
    for (bytes, expected) in bytes.into_iter().zip([4_000_000, 2_000_000, 100_000]) {
        assert_near(bytes, 10 * expected, 0.03, "a floor");
    }
}

#[tokio::test(start_paused = true)]
async fn the_default_floor_of_many_leaves_a_named_tenant_its_floor() {
    let others = Tenant::weight(1000).with_floor(RATE / 10);
    let gold = Tenant::weight(1).with_floor(RATE / 2);
    let layer = layer([total(others, &[("gold", gold)])]);
    let gold = Reader::many(&layer, "gold", 1).await;
    let mut readers = Vec::new();
    for other in 0..20 {
        readers.push(Reader::start(&layer, &format!("other-{other}")).await);
    }
    let mut groups: Vec<&[Reader]> = readers.chunks(1).collect();
    groups.push(&gold);
    during(SECOND, &groups).await;
    let mut bytes = during(10 * SECOND, &groups).await;
    assert_near(bytes.pop().unwrap(), 5 * RATE, 0.02, "the named floor");
    let left: u64 = bytes.iter().sum();
    assert_near(left, 5 * RATE, 0.02, "what is left");
    assert!(jain(&bytes) > 0.98, "{bytes:?}");
}

#[tokio::test(start_paused = true)]
async fn floors_and_ceilings_change_on_streams_in_flight() {
    let of_a = |tenant| limits(&[("a", tenant), ("b", Tenant::weight(99))]);
    let watched = Watched::fixed(of_a(Tenant::weight(1)));
    let layer = ByteRateLayer::watching(watched.clone());
    let first = Reader::many(&layer, "a", 2).await;
    let second = Reader::many(&layer, "b", 2).await;
    let groups: [&[Reader]; 2] = [&first, &second];
    for (tenant, expected) in [
        (Tenant::weight(1), RATE / 100),
        (Tenant::weight(1).with_floor(4_000_000), 4_000_000),
        (Tenant::weight(1).with_floor(2_000_000), 2_000_000),
        (Tenant::weight(99), RATE / 2),
        (Tenant::weight(99).with_ceiling(1_000_000), 1_000_000),
        (Tenant::weight(99).with_ceiling(3_000_000), 3_000_000),
        (Tenant::weight(99), RATE / 2),
    ] {
        watched.publish(of_a(tenant));
        during(Duration::from_millis(500), &groups).await;
        let bytes = during(5 * SECOND, &groups).await;
        assert_near(bytes[0], 5 * expected, 0.03, "what was changed");
        assert_near(bytes[1], 5 * (RATE - expected), 0.03, "the rest");
    }
}
