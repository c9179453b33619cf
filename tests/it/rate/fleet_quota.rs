//! Quotas shared by replicas through a real Redis server, in real time.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::rate_support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use portcullis::rate::{ByteRateLayer, Fleet, Key, Limit, Limits, LimitsError, Window};
use portcullis::{Preset, Responder, Watched};
use rate_support::redis::{Redis, free_port};
use rate_support::{Answer, Reader, request, serving};
use tower::{Layer, Service, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

/// A time in the middle of its hour, which does not pass.
const NOON: u64 = 1_700_001_000;

fn limit(bytes: u64, window: Window, fleet: &Fleet) -> Limit {
    Limit::quota("hourly", Key::Principal, bytes, window).with_fleet(fleet)
}

fn cut(bytes: u64, fleet: &Fleet) -> Limit {
    limit(bytes, Window::Hour, fleet).with_cut(true)
}

/// A replica whose hour does not end.
fn replica(limits: impl IntoIterator<Item = Limit>) -> ByteRateLayer {
    watching(Watched::fixed(Limits::new(limits).unwrap()))
}

fn watching(limits: Watched<Limits>) -> ByteRateLayer {
    let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(NOON);
    ByteRateLayer::with_calendar(limits, move || noon)
        .with_responder(Responder::new(Preset::Registry))
}

async fn get(layer: &ByteRateLayer, principal: &str, bytes: usize) -> Answer {
    let service = serving(layer, bytes);
    service
        .oneshot(request(Some(principal), "10.0.0.1:1"))
        .await
        .unwrap()
}

/// How many bytes of an answer come before it ends or is cut.
async fn received(mut answer: Answer) -> u64 {
    let mut bytes = 0;
    while let Some(Ok(frame)) = answer.frame().await {
        bytes += frame.into_data().unwrap_or_default().len() as u64;
    }
    bytes
}

/// Waits for what the replicas report a few times a second.
async fn until<F: Future<Output = Option<T>>, T>(what: &str, look: impl Fn() -> F) -> T {
    for _ in 0..600 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(SECOND / 20).await;
    }
    panic!("no {what} within 30 s");
}

/// The books of all keys together, once they say `bytes`.
async fn books_agree(redis: &Redis, bytes: u64) {
    until(&format!("agreement on {bytes}"), async || {
        let books = redis.books("portcullis:{hourly}:*").await;
        (books.values().sum::<u64>() == bytes).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_keep_the_quotas_of_three_callers_through_the_loss_of_the_server() {
    let quota = 24_000_000;
    let redis = Redis::start();
    let port = redis.port;
    let fleets: Vec<Fleet> = (0..3).map(|_| redis.fleet()).collect();
    let layers: Vec<ByteRateLayer> = fleets
        .iter()
        .map(|fleet| {
            let pace = Limit::rate("pace", Key::Stream, 1_000_000);
            replica([cut(quota, fleet), pace])
        })
        .collect();
    let callers = ["a", "b", "c"];
    let mut readers: Vec<Vec<Reader>> = Vec::new();
    for caller in callers {
        let mut own = Vec::new();
        for layer in &layers {
            own.extend(Reader::many(layer, caller, 2).await);
        }
        readers.push(own);
    }
    let total = || -> u64 { readers.iter().flatten().map(Reader::bytes).sum() };
    until("the first bytes", async || {
        (total() > 8_000_000).then_some(())
    })
    .await;
    drop(redis);
    let before = total();
    until("bytes without the server", async || {
        (total() > before + 4_000_000).then_some(())
    })
    .await;
    let redis = Redis::at(port);
    until("the end of all streams", async || {
        readers.iter().flatten().all(Reader::is_over).then_some(())
    })
    .await;

    let mut all = 0;
    for (caller, readers) in callers.iter().zip(&readers) {
        let bytes: u64 = readers.iter().map(Reader::bytes).sum();
        println!("{caller}: {bytes} of {quota}");
        // Each went on with its share of what was left, as it had heard last: the others' leases
        // of the last period are what that may be wrong by.
        assert!(bytes <= quota + quota / 20, "{caller}: {bytes}");
        assert!(bytes >= quota - quota / 20, "{caller}: {bytes}");
        all += bytes;
    }
    books_agree(&redis, all).await;
    for layer in &layers {
        for caller in callers {
            let answer = get(layer, caller, 1).await;
            assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(answer.headers()["retry-after"], "1800");
        }
        assert_eq!(get(layer, "another", 1).await.status(), StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_server_up_no_byte_more_than_the_quota_is_sent() {
    let quota = 3_000_000;
    let redis = Redis::start();
    let layers: Vec<ByteRateLayer> = (0..3)
        .map(|_| replica([cut(quota, &redis.fleet())]))
        .collect();
    let mut streams = tokio::task::JoinSet::new();
    for layer in &layers {
        for _ in 0..4 {
            let answer = get(layer, "a", 1_000_000).await;
            // The last may come too late to begin.
            if answer.status() == StatusCode::OK {
                streams.spawn(received(answer));
            }
        }
    }
    let bytes: u64 = streams.join_all().await.iter().sum();
    assert!(bytes <= quota, "{bytes}");
    // What one still had when another was cut is all that is not used.
    assert!(bytes >= quota * 9 / 10, "{bytes}");
    books_agree(&redis, bytes).await;
}

/// A service that does its work when it is called, and has to be ready for it.
struct Eager {
    calls: Arc<AtomicU64>,
    ready: bool,
}

impl Clone for Eager {
    fn clone(&self) -> Self {
        Self {
            calls: Arc::clone(&self.calls),
            ready: false,
        }
    }
}

impl<B> Service<http::Request<B>> for Eager {
    type Response = Response<Empty<bytes::Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<B>) -> Self::Future {
        assert!(self.ready, "the one that was ready is called");
        self.calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(Response::new(Empty::new())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_used_up_is_refused_by_another_before_its_service_is_asked() {
    let redis = Redis::start();
    let [first, second] = [(); 2].map(|()| replica([limit(10_000, Window::Hour, &redis.fleet())]));
    // In flight when the quota ran out, and finished.
    assert_eq!(received(get(&first, "a", 50_000).await).await, 50_000);
    books_agree(&redis, 50_000).await;
    let calls = Arc::new(AtomicU64::new(0));
    let service = second.layer(Eager {
        calls: Arc::clone(&calls),
        ready: false,
    });
    let status = async |caller| {
        let request = request(Some(caller), "10.0.0.1:1");
        service.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(status("a").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(status("b").await, StatusCode::OK);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(get(&first, "a", 1).await.status(), 429);
}

/// Whether an answer is exempt is known by its length only; what is left of the quota is asked for before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_used_up_is_refused_by_another_where_small_answers_are_exempt() {
    let redis = Redis::start();
    let [first, second] = [(); 2].map(|()| {
        let quota = limit(10_000, Window::Hour, &redis.fleet());
        let limits = Limits::new([quota]).unwrap();
        let manifests = portcullis::oci::Endpoint::Manifest;
        watching(Watched::fixed(limits.with_exempt_small(manifests, 100)))
    });
    assert_eq!(received(get(&first, "a", 50_000).await).await, 50_000);
    books_agree(&redis, 50_000).await;
    for (caller, bytes, status) in [("a", 101, 429), ("a", 100, 200), ("b", 101, 200)] {
        let mut request = request(Some(caller), "10.0.0.1:1");
        *request.uri_mut() = "/v2/library/busybox/manifests/latest".parse().unwrap();
        let answer = serving(&second, bytes).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{caller} {bytes}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_does_not_use_goes_back_to_the_others() {
    let quota = 100_000;
    let redis = Redis::start();
    let [idle, busy] = [(); 2].map(|()| replica([cut(quota, &redis.fleet())]));
    assert_eq!(received(get(&idle, "a", 1_000).await).await, 1_000);
    // Streams that end when what others hold is not free yet are cut, so in several requests.
    let bytes = Arc::new(AtomicU64::new(1_000));
    until("the rest", async || {
        let answer = get(&busy, "a", 200_000).await;
        if answer.status() == StatusCode::OK {
            bytes.fetch_add(received(answer).await, Ordering::Relaxed);
        }
        (bytes.load(Ordering::Relaxed) == quota).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_by_its_lease_while_the_server_is_slow() {
    let redis = Redis::with(free_port(), &["--enable-debug-command", "yes"]);
    let pace = Limit::rate("pace", Key::Stream, 1_000_000);
    let layer = replica([cut(1_000_000_000, &redis.fleet()), pace]);
    let reader = Reader::start(&layer, "a").await;
    tokio::time::sleep(3 * SECOND / 2).await;
    // Less than what counts as unreachable, and more than a few periods.
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let before = reader.bytes();
    let mut sleep = redis::cmd("DEBUG");
    sleep.arg("SLEEP").arg("0.4");
    sleep.exec_async(&mut connection).await.unwrap();
    let bytes = reader.bytes() - before;
    // A lease of one period would have had 100,000.
    assert!(bytes > 150_000, "{bytes} of 400000 in the server's sleep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_last_is_told_at_the_end_and_when_the_window_changes() {
    let redis = Redis::start();
    let fleet = redis.fleet().with_period(10 * SECOND).unwrap();
    let limits = |window| Limits::new([limit(1_000_000, window, &fleet).with_cut(true)]).unwrap();
    let watched = Watched::fixed(limits(Window::Hour));
    let layer = watching(watched.clone());
    let books = async || -> u64 { redis.books("portcullis:{hourly}:*").await.values().sum() };
    assert_eq!(received(get(&layer, "a", 1_000).await).await, 1_000);
    layer.flush().await;
    assert_eq!(books().await, 1_000);
    assert_eq!(received(get(&layer, "a", 100).await).await, 100);
    watched.publish(limits(Window::Day));
    assert_eq!(received(get(&layer, "a", 10).await).await, 10);
    layer.flush().await;
    books_agree(&redis, 1_110).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_dead_replicas_become_one_and_what_they_sent_counts() {
    let redis = Redis::start();
    let layer = replica([cut(100_000, &redis.fleet())]);
    assert_eq!(received(get(&layer, "a", 1_000).await).await, 1_000);
    books_agree(&redis, 1_000).await;
    let keys: Vec<String> = redis.ask(&["KEYS", "portcullis:{hourly}:*"]).await;
    let mut dead = vec!["HSET".to_owned(), keys[0].clone()];
    for replica in 0..1000 {
        dead.extend([format!("dead-{replica}"), "90 500 1".to_owned()]);
    }
    let words: Vec<&str> = dead.iter().map(String::as_str).collect();
    redis.ask::<u64>(&words).await;
    let all = received(get(&layer, "a", 20_000).await).await;
    layer.flush().await;
    let replicas: Vec<String> = redis.ask(&["HKEYS", &keys[0]]).await;
    assert_eq!(replicas.len(), 2, "{replicas:?}");
    let gone: String = redis.ask(&["HGET", &keys[0], "gone"]).await;
    assert_eq!(gone, "90000 90000 0");
    // With theirs and what came before, the quota is full.
    assert!(all <= 9_000, "{all}");
    until("its end", async || {
        let answer = get(&layer, "a", 20_000).await;
        (answer.status() == StatusCode::TOO_MANY_REQUESTS).then_some(())
    })
    .await;

    // One that was taken for dead and is back is counted apart again.
    let own = replicas.iter().find(|name| **name != "gone").unwrap();
    let told: String = redis.ask(&["HGET", &keys[0], own]).await;
    let sent: u64 = told.split(' ').next().unwrap().parse().unwrap();
    let folded = format!("{0} {0} 0", 90_000 + sent);
    redis.ask::<u64>(&["HDEL", &keys[0], own]).await;
    redis.ask::<u64>(&["HSET", &keys[0], "gone", &folded]).await;
    let apart = format!("{}:gone:{own}", keys[0]);
    redis.ask::<()>(&["SET", &apart, &sent.to_string()]).await;
    get(&layer, "a", 1).await;
    layer.flush().await;
    let gone: String = redis.ask(&["HGET", &keys[0], "gone"]).await;
    assert_eq!(gone, "90000 90000 0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_after_a_pause_is_answered_at_once_while_the_server_is_slow() {
    let redis = Redis::with(free_port(), &["--enable-debug-command", "yes"]);
    let layer = replica([cut(1_000_000_000, &redis.fleet())]);
    assert_eq!(received(get(&layer, "a", 1_000).await).await, 1_000);
    tokio::time::sleep(4 * SECOND).await;
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut sleep = redis::cmd("DEBUG");
    sleep.arg("SLEEP").arg("0.4");
    let slow = tokio::spawn(async move { sleep.exec_async(&mut connection).await });
    tokio::time::sleep(SECOND / 20).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(received(get(&layer, "a", 50_000).await).await, 50_000);
    assert!(begin.elapsed() < SECOND / 5, "{:?}", begin.elapsed());
    slow.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_server_the_operators_choice_holds() {
    let nowhere = Fleet::new(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
    let quota = 800_000;
    let replica = |fleet: &Fleet| replica([cut(quota, fleet)]);

    let refuse = replica(&nowhere.clone().refusing_when_unreachable());
    let answer = get(&refuse, "a", 1).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);

    let open = replica(&nowhere.clone().open_when_unreachable());
    assert_eq!(received(get(&open, "a", 3_000_000).await).await, 3_000_000);
    assert_eq!(received(get(&open, "a", 10).await).await, 10);

    // A part of the quota, since there might be eight.
    let local = replica(&nowhere);
    assert_eq!(received(get(&local, "a", 3_000_000).await).await, quota / 8);
    assert_eq!(get(&local, "a", 1).await.status(), 429);
    assert_eq!(received(get(&local, "b", 1_000).await).await, 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_without_the_server_is_told_when_it_is_back_and_counts() {
    let port = free_port();
    let fleet = || Fleet::new(&format!("redis://127.0.0.1:{port}")).unwrap();
    let open = replica([cut(1_000_000, &fleet().open_when_unreachable())]);
    let refuse = replica([cut(1_000_000, &fleet().refusing_when_unreachable())]);
    assert_eq!(received(get(&open, "a", 2_000_000).await).await, 2_000_000);
    assert_eq!(get(&refuse, "a", 1).await.status(), 503);
    let redis = Redis::at(port);
    books_agree(&redis, 2_000_000).await;
    until("a 429 in the place of the 503", async || {
        let status = get(&refuse, "a", 1).await.status();
        assert!(status == 503 || status == 429, "{status}");
        (status == 429).then_some(())
    })
    .await;
    assert_eq!(received(get(&refuse, "b", 1_000).await).await, 1_000);
    until("the quota's return here too", async || {
        (get(&open, "a", 1).await.status() == 429).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_did_not_take_is_not_on_the_books() {
    let redis = Redis::start();
    let layer = replica([cut(1_000_000, &redis.fleet())]);
    let mut taken = 0;
    for _ in 0..3 {
        let service = rate_support::serving_body(&layer, || rate_support::Endless);
        let request = request(Some("a"), "10.0.0.1:1");
        let mut body = service.oneshot(request).await.unwrap().into_body();
        let frame = body.frame().await.unwrap().unwrap();
        taken += frame.into_data().unwrap().len() as u64;
    }
    books_agree(&redis, taken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_the_books_and_takes_the_new_quota() {
    let redis = Redis::start();
    let fleet = redis.fleet();
    let limits = |quota| Limits::new([cut(quota, &fleet)]).unwrap();
    let watched = Watched::fixed(limits(10_000));
    let layer = watching(watched.clone());
    assert_eq!(received(get(&layer, "a", 20_000).await).await, 10_000);
    assert_eq!(get(&layer, "a", 1).await.status(), 429);
    watched.publish(limits(15_000));
    assert_eq!(received(get(&layer, "a", 20_000).await).await, 5_000);
    books_agree(&redis, 15_000).await;
    // Another window is another book.
    let daily = limit(2_000, Window::Day, &fleet).with_cut(true);
    watched.publish(Limits::new([daily]).unwrap());
    assert_eq!(received(get(&layer, "a", 20_000).await).await, 2_000);
    books_agree(&redis, 17_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_in_flight_goes_on_in_the_next_window_and_both_books_agree() {
    let redis = Redis::start();
    let clock = Arc::new(AtomicU64::new(NOON));
    let now = Arc::clone(&clock);
    let pace = Limit::rate("pace", Key::Stream, 1_000_000);
    let limits = Limits::new([cut(1_000_000, &redis.fleet()), pace]).unwrap();
    let layer = ByteRateLayer::with_calendar(Watched::fixed(limits), move || {
        SystemTime::UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed))
    });
    let reader = Reader::start(&layer, "a").await;
    until("half of the quota", async || {
        (reader.bytes() > 400_000).then_some(())
    })
    .await;
    clock.fetch_add(3600, Ordering::Relaxed);
    until("its end", async || reader.is_over().then_some(())).await;
    let all = reader.bytes();
    assert!(all > 1_400_000, "{all}");
    let books = until("agreement of the books", async || {
        let books = redis.books("portcullis:{hourly}:*").await;
        let sums: Vec<u64> = books.into_values().collect();
        (sums.iter().sum::<u64>() == all).then_some(sums)
    })
    .await;
    // In order of the hours, which their names begin with.
    assert_eq!(books, [all - 1_000_000, 1_000_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_operator_chose_to_refuse_a_stream_stands_until_the_server_is_back() {
    let redis = Redis::start();
    let port = redis.port;
    let fleet = redis.fleet().refusing_when_unreachable();
    let pace = Limit::rate("pace", Key::Stream, 1_000_000);
    let layer = replica([cut(1_000_000_000, &fleet), pace]);
    let reader = Reader::start(&layer, "a").await;
    until("some bytes", async || {
        (reader.bytes() > 300_000).then_some(())
    })
    .await;
    drop(redis);
    let stood = until("the end of the lease", async || {
        let before = reader.bytes();
        tokio::time::sleep(SECOND).await;
        (reader.bytes() == before).then_some(before)
    })
    .await;
    assert!(!reader.is_over());
    assert_eq!(get(&layer, "a", 1).await.status(), 503);
    let _redis = Redis::at(port);
    until("more bytes", async || {
        (reader.bytes() > stood + 100_000).then_some(())
    })
    .await;
}

#[test]
fn a_fleet_shares_no_quota_that_means_something_else_in_each_replica() {
    let fleet = Fleet::new("redis://127.0.0.1:1/0").unwrap();
    let wrong = |limit: Limit| Limits::new([limit.with_fleet(&fleet)]).unwrap_err();
    let name = || "a".into();
    assert_eq!(
        wrong(Limit::quota("a", Key::Connection, 1, Window::Day)),
        LimitsError::FleetKey { limit: name() }
    );
    assert_eq!(
        wrong(Limit::quota("a", Key::Principal, 1, Window::Day).with_rate(1)),
        LimitsError::FleetKey { limit: name() }
    );
    let most = 1 << 53;
    assert_eq!(
        wrong(Limit::quota("a", Key::Total, most + 1, Window::Day)),
        LimitsError::FleetQuota {
            limit: name(),
            most
        }
    );
    Limits::new([Limit::quota("a", Key::Total, most, Window::Day).with_fleet(&fleet)]).unwrap();
}
