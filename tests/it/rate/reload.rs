//! What becomes of debts and credits when limits change, in paused time.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]

use crate::rate_support;

use std::net::Ipv4Addr;
use std::time::Duration;

use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
use portcullis::{ClientAddr, Watched};
use rate_support::{Reader, assert_near, during, read, request, serving};
use tokio::time::Instant;
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);

/// How long it takes this source to read so much.
async fn takes(layer: &ByteRateLayer, source: u32, bytes: usize) -> Duration {
    let mut request = request(None, "10.0.0.1:1");
    let client = ClientAddr::new((Ipv4Addr::from_bits(source), 1).into());
    request.extensions_mut().insert(client);
    let begin = Instant::now();
    let answer = serving(layer, bytes).oneshot(request).await.unwrap();
    read(answer.into_body()).await;
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_is_taken_away_and_given_back_goes_on_from_where_it_was() {
    let cap = Limit::streams("total", Key::Total, 10);
    let rate = cap.clone().with_rate(1_000_000);
    let of = |limit: &Limit| Limits::new([limit.clone()]).unwrap();
    let watched = Watched::fixed(of(&rate));
    let layer = ByteRateLayer::watching(watched.clone());
    let readers = Reader::many(&layer, "a", 2).await;
    let all: [&[Reader]; 1] = [&readers];
    during(60 * SECOND, &all).await;
    drop(readers);
    for pause in [Duration::ZERO, 10 * SECOND] {
        watched.publish(of(&cap));
        assert_eq!(takes(&layer, 1, 10_000_000).await, Duration::ZERO);
        tokio::time::sleep(pause).await;
        watched.publish(of(&rate));
        let readers = Reader::many(&layer, "a", 2).await;
        let all: [&[Reader]; 1] = [&readers];
        let bytes = during(10 * SECOND, &all).await;
        assert_near(bytes[0], 10_000_000, 0.02, "the rate");
    }
}

#[tokio::test(start_paused = true)]
async fn the_room_for_keys_changes_and_no_debt_is_forgotten() {
    let of = |keys| {
        let limit = Limit::rate("source", Key::Source, 1000).with_burst(10_000);
        Limits::new([limit]).unwrap().with_max_keys(keys)
    };
    let watched = Watched::fixed(of(100));
    let layer = ByteRateLayer::watching(watched.clone());
    let debtor = 7;
    takes(&layer, debtor, 10_000).await;
    for source in 100..300 {
        let _ = tokio::time::timeout(Duration::from_millis(1), takes(&layer, source, 10)).await;
    }
    assert_eq!(layer.keys("source"), 100);
    // One is in flight meanwhile.
    let open = serving(&layer, 100_000).oneshot(request(None, "10.0.0.250:1"));
    let reading = tokio::spawn(read(open.await.unwrap().into_body()));
    for (keys, least) in [(100_000_u32, 5000), (10, 5000), (1 << 20, 10_000)] {
        watched.publish(of(keys as usize));
        let wait = takes(&layer, debtor, 1000).await;
        assert!(wait >= Duration::from_millis(900), "{wait:?}");
        for source in 0..5000 {
            let key = keys + 1000 + source;
            let _ = tokio::time::timeout(Duration::ZERO, takes(&layer, key, 10_000)).await;
        }
        let remembered = layer.keys("source");
        assert!(remembered >= least, "{remembered}");
    }
    reading.await.unwrap();
    // Its last debt is paid, and its place is free for another.
    tokio::time::sleep(20 * SECOND).await;
    watched.publish(of(10));
    for source in 0..100 {
        takes(&layer, 1_000_000 + source, 10).await;
    }
    assert!(layer.keys("source") <= 10, "{}", layer.keys("source"));
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_another_name_or_key_owes_nothing_of_what_was_there_before() {
    let of = |name, key| {
        let limit = Limit::rate(name, key, 1000).with_burst(10_000);
        Limits::new([limit]).unwrap()
    };
    for (name, key) in [("other", Key::Source), ("one", Key::Total)] {
        let watched = Watched::fixed(of("one", Key::Source));
        let layer = ByteRateLayer::watching(watched.clone());
        takes(&layer, 7, 10_000).await;
        assert_eq!(layer.keys("one"), 1);
        // The same limit still owes all of it.
        watched.publish(of("one", Key::Source));
        assert!(takes(&layer, 7, 5000).await >= 4 * SECOND);
        watched.publish(of(name, key));
        assert_eq!(layer.keys(name), 0, "{name}");
        assert_eq!(takes(&layer, 7, 10_000).await, Duration::ZERO, "{name}");
    }
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn a_fleets_rate_goes_on_from_where_it_was() {
    use portcullis::rate::Fleet;
    use rate_support::redis::free_port;

    let url = format!("redis://127.0.0.1:{}", free_port());
    let fleet = || Fleet::new(&url).unwrap();
    let rate = Limit::rate("total", Key::Total, 100_000_000);
    let slower = Limit::rate("total", Key::Total, 40_000_000);
    let of = |limit: &Limit| Limits::new([limit.clone()]).unwrap();
    for after in [slower.clone(), slower.with_fleet(&fleet())] {
        let open = rate.clone().with_fleet(&fleet().open_when_unreachable());
        let watched = Watched::fixed(of(&open));
        let layer = ByteRateLayer::watching(watched.clone());
        // As much as it wants, once it is known that there is no server.
        let begin = Instant::now();
        let readers = Reader::many(&layer, "a", 1).await;
        while readers[0].bytes() < 1_000_000_000 {
            assert!(begin.elapsed() < 60 * SECOND);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        watched.publish(of(&after));
        let all: [&[Reader]; 1] = [&readers];
        during(Duration::from_millis(100), &all).await;
        let bytes = during(Duration::from_millis(500), &all).await;
        // An eighth, until the fleet says more.
        assert!(bytes[0] > 2_000_000, "{bytes:?}");
    }
}
