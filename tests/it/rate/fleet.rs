//! A total rate shared by replicas through a real Redis server, in real time.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::cast_precision_loss, reason = "figures of a test")]

use crate::rate_support;

use std::ops::RangeInclusive;
use std::time::Duration;

use portcullis::rate::{ByteRateLayer, Fleet, Key, Limit, Limits, LimitsError};
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

    // No replica can report more: each goes on with what it had.
    drop(redis);
    let bytes = during(3 * SECOND, &all).await;
    assert_within(bytes[0], rate * 3, 0.1, "without the server");

    let redis = Redis::at(port);
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
    let mut received = 0;
    for reader in readers {
        received += reader.stop().await;
    }
    tokio::time::sleep(2 * SECOND).await;
    let all: [&[Reader]; 1] = [&rest];
    let bytes = during(3 * SECOND, &all).await;
    assert_within(bytes[0], rate * 3, 0.05, "two replicas");

    for reader in rest {
        received += reader.stop().await;
    }
    for layer in &layers {
        layer.flush().await;
    }
    assert_eq!(books(&redis).await, received);
}

const RATE_OF_TWO: u64 = 2_000_000;

/// Two replicas with two streams each, through the loss and return of their server: what both send in a second
/// without it, and that their rate does not jump when it is back.
async fn returns_without_a_jump(choose: fn(Fleet) -> Fleet, alone: RangeInclusive<u64>) {
    let rate = RATE_OF_TWO;
    let redis = Redis::start();
    let port = redis.port;
    let mut readers = Vec::new();
    let mut layers = Vec::new();
    for _ in 0..2 {
        let layer = replica(rate, &choose(redis.fleet()));
        readers.extend(Reader::many(&layer, "a", 2).await);
        layers.push(layer);
    }
    let all: [&[Reader]; 1] = [&readers];
    tokio::time::sleep(2 * SECOND).await;
    drop(redis);
    tokio::time::sleep(SECOND).await;
    let bytes = during(SECOND, &all).await[0];
    assert!(alone.contains(&bytes), "{bytes} without the server");
    let redis = Redis::at(port);
    // Until both have found it.
    tokio::time::sleep(SECOND / 2).await;
    let bytes = during(2 * SECOND, &all).await[0];
    assert!(bytes <= rate * 2 * 115 / 100, "a jump: {bytes}");
    tokio::time::sleep(3 * SECOND).await;
    let bytes = during(3 * SECOND, &all).await[0];
    assert_within(bytes, rate * 3, 0.05, "after its return");
    let mut received = 0;
    for reader in readers {
        received += reader.stop().await;
    }
    for layer in &layers {
        layer.flush().await;
    }
    assert_eq!(books(&redis).await, received);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_each_went_on_alone_the_rate_does_not_jump_at_the_servers_return() {
    let alone = RATE_OF_TWO * 85 / 100..=RATE_OF_TWO * 115 / 100;
    returns_without_a_jump(|fleet| fleet, alone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_was_no_limit_the_rate_does_not_jump_at_the_servers_return() {
    returns_without_a_jump(Fleet::open_when_unreachable, 10 * RATE_OF_TWO..=u64::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_stood_the_rate_does_not_jump_at_the_servers_return() {
    returns_without_a_jump(Fleet::refusing_when_unreachable, 0..=RATE_OF_TWO / 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_dead_replicas_become_one_and_what_they_sent_stays_on_the_books() {
    let redis = Redis::start();
    let key = "portcullis:{total}:replicas";
    let mut dead = vec!["HSET".to_owned(), key.to_owned()];
    for replica in 0..1000 {
        dead.extend([format!("dead-{replica}"), "1000 1 1 1".to_owned()]);
    }
    let words: Vec<&str> = dead.iter().map(String::as_str).collect();
    redis.ask::<u64>(&words).await;
    let layer = replica(2_000_000, &redis.fleet());
    let pull = async || {
        let service = serving(&layer, 100_000);
        let answer = service.oneshot(request(None, "10.0.0.1:1")).await.unwrap();
        rate_support::read(answer.into_body()).await;
        layer.flush().await;
    };
    pull().await;
    let replicas: Vec<String> = redis.ask(&["HKEYS", key]).await;
    assert_eq!(replicas.len(), 2, "{replicas:?}");
    assert_eq!(books(&redis).await, 1_100_000);

    // One that was taken for dead and is back is counted apart again.
    let own = replicas.iter().find(|name| **name != "gone").unwrap();
    redis.ask::<u64>(&["HDEL", key, own]).await;
    let gone = "1100000 0 0 0";
    redis.ask::<u64>(&["HSET", key, "gone", gone]).await;
    let apart = format!("{key}:gone:{own}");
    redis.ask::<()>(&["SET", &apart, "100000"]).await;
    pull().await;
    assert_eq!(books(&redis).await, 1_200_000);
    let gone: String = redis.ask(&["HGET", key, "gone"]).await;
    assert_eq!(gone, "1000000 0 0 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_last_is_told_when_the_limit_goes() {
    let redis = Redis::start();
    let fleet = redis.fleet().with_period(10 * SECOND).unwrap();
    let layer = replica(80_000_000, &fleet);
    let service = serving(&layer, 100_000);
    let mut bytes = 0;
    for _ in 0..2 {
        let request = request(None, "10.0.0.1:1");
        let answer = service.clone().oneshot(request).await.unwrap();
        bytes += rate_support::total(&rate_support::read(answer.into_body()).await) as u64;
        layer.flush().await;
        assert_eq!(books(&redis).await, bytes);
    }
    let answer = service.oneshot(request(None, "10.0.0.1:1")).await.unwrap();
    bytes += rate_support::total(&rate_support::read(answer.into_body()).await) as u64;
    drop(layer);
    tokio::time::sleep(SECOND).await;
    assert_eq!(books(&redis).await, bytes);
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
    let get = async |fleet: Fleet, bytes| {
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
    assert_eq!(
        get(nowhere.clone().refusing_when_unreachable(), 10).await.0,
        503
    );
    let (status, took) = get(nowhere.clone().open_when_unreachable(), 50_000_000).await;
    assert_eq!(status, 200);
    assert!(took < 10 * SECOND, "{took:?}");
    // An eighth of the rate, after the burst.
    let (status, took) = get(nowhere.clone(), 46_384).await;
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
