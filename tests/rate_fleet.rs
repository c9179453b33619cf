//! A total rate shared by replicas through a real Redis server, in real time.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::cast_precision_loss, reason = "figures of a test")]

mod rate_support;

use std::time::Duration;

use portcullis::rate::{ByteRateLayer, Fleet, Key, Limit, Limits, LimitsError, Unreachable};
use portcullis::{Preset, Responder};
use rate_support::redis::{Redis, free_port};
use rate_support::{Reader, during, request, serving};
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);

async fn books(redis: &Redis) -> u64 {
    let books = redis.books("portcullis:{total}:replicas").await;
    books.values().sum()
}

fn replica(rate: u64, fleet: &Fleet) -> ByteRateLayer {
    let limit = Limit::rate("total", Key::Total, rate).with_fleet(fleet);
    ByteRateLayer::new(Limits::new([limit]).unwrap())
}

fn assert_within(bytes: u64, expected: u64, part: f64, what: &str) {
    println!("{what}: {bytes} of {expected}");
    rate_support::assert_near(bytes, expected, part, what);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_keep_one_total_through_the_loss_and_return_of_the_server() {
    let rate = 3_000_000;
    let redis = Redis::start();
    let port = redis.port;
    let mut readers = Vec::new();
    let mut layers = Vec::new();
    for _ in 0..3 {
        let layer = replica(rate, &redis.fleet());
        readers.extend(Reader::many(&layer, "a", 4).await);
        layers.push(layer);
    }
    let all: [&[Reader]; 1] = [&readers];
    let each: Vec<&[Reader]> = readers.chunks(4).collect();
    tokio::time::sleep(2 * SECOND).await;

    let bytes = during(10 * SECOND, &each).await;
    assert_within(
        bytes.iter().sum(),
        rate * 10,
        0.05,
        "while the server is up",
    );
    for replica in &bytes {
        assert_within(*replica, rate * 10 / 3, 0.15, "a replica's third");
    }

    // Nobody can report more: each goes on with what it had.
    drop(redis);
    let bytes = during(3 * SECOND, &all).await;
    assert_within(bytes[0], rate * 3, 0.1, "without the server");

    let _redis = Redis::at(port);
    let bytes = during(2 * SECOND, &all).await;
    assert!(
        bytes[0] <= rate * 2 * 115 / 100,
        "a jump at its return: {bytes:?}"
    );
    tokio::time::sleep(2 * SECOND).await;
    let bytes = during(5 * SECOND, &all).await;
    assert_within(bytes[0], rate * 5, 0.05, "after its return");

    // One replica's streams end: the others take what it leaves.
    let rest = readers.split_off(4);
    drop(readers);
    tokio::time::sleep(2 * SECOND).await;
    let all: [&[Reader]; 1] = [&rest];
    let bytes = during(3 * SECOND, &all).await;
    assert_within(bytes[0], rate * 3, 0.05, "two replicas");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_say_what_the_clients_received_even_after_the_server_lost_them() {
    let redis = Redis::start();
    let port = redis.port;
    let layers = [redis.fleet(), redis.fleet()].map(|fleet| replica(2_000_000, &fleet));
    let pull = async || {
        let mut received = 0;
        for layer in &layers {
            let service = serving(layer, 500_000);
            let answer = service.oneshot(request(None, "10.0.0.1:1")).await.unwrap();
            received += rate_support::total(&rate_support::read(answer.into_body()).await);
        }
        received as u64
    };
    let received = pull().await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(books(&redis).await, received);
    drop(redis);
    let received = received + pull().await;
    let redis = Redis::at(port);
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(books(&redis).await, received);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_server_the_operators_choice_holds() {
    let port = free_port();
    let nowhere = Fleet::new(&format!("redis://127.0.0.1:{port}")).unwrap();
    let get = async |unreachable, bytes| {
        let fleet = nowhere.clone().with_unreachable(unreachable);
        let layer = replica(80_000, &fleet).with_responder(Responder::new(Preset::Registry));
        // The first request is what makes the replica look for its server.
        let first = serving(&layer, 1)
            .oneshot(request(None, "10.0.0.1:1"))
            .await
            .unwrap();
        drop(first);
        tokio::time::sleep(SECOND).await;
        let begin = tokio::time::Instant::now();
        let answer = serving(&layer, bytes)
            .oneshot(request(None, "10.0.0.1:1"))
            .await
            .unwrap();
        let status = answer.status();
        rate_support::read(answer.into_body()).await;
        (status, begin.elapsed())
    };
    assert_eq!(get(Unreachable::Refuse, 10).await.0, 503);
    let (status, took) = get(Unreachable::Open, 50_000_000).await;
    assert_eq!(status, 200);
    assert!(took < 10 * SECOND, "{took:?}");
    // An eighth of the rate, after the burst.
    let (status, took) = get(Unreachable::Local, 46_384).await;
    assert_eq!(status, 200);
    assert!(took > 2 * SECOND && took < 10 * SECOND, "{took:?}");
}

#[test]
fn a_fleets_password_is_never_shown() {
    let fleet = Fleet::new("redis://user:hunter2@127.0.0.1:1/0").unwrap();
    let limit = Limit::rate("total", Key::Total, 1).with_fleet(&fleet);
    assert!(!format!("{fleet:?} {limit:?}").contains("hunter2"));
    let error = Fleet::new("http://user:hunter2@127.0.0.1").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let error = Fleet::new("rediss://user:hunter2@127.0.0.1").unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn only_a_total_rate_can_be_shared_with_a_fleet() {
    let fleet = Fleet::new("redis://127.0.0.1:1/0").unwrap();
    let limit = Limit::rate("caller", Key::Principal, 1).with_fleet(&fleet);
    let error = Limits::new([limit]).unwrap_err();
    assert_eq!(
        error,
        LimitsError::FleetKey {
            limit: "caller".into()
        }
    );
}
