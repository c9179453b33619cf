//! One reservation, in nanoseconds.

use std::convert::Infallible;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use governor::{Quota, RateLimiter};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use portcullis::identity::{Method, Principal};
use portcullis::rate::{ByteRateLayer, Key, Keyed, Limit, Limits, Share, Window};
use tower::{Layer, Service, ServiceExt};

use crate::figures::Figures;

const OPERATIONS: u32 = 400_000;
const RUNS: usize = 7;
const KEYS: u64 = 10_000;

/// What no run uses up.
const ENDLESS: u64 = 1 << 62;
const RATE: u64 = 1_000_000_000_000;

/// Adds a row for each operation and number of threads.
pub(crate) fn measure(figures: &mut Figures) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    one_key(figures);
    many_keys(figures);
    bodies(figures);
    requests(figures);
    memory(figures);
    eviction(figures);
}

/// One key as a limit keeps it: hashed, looked up in its shard, and its cell moved on.
fn one_key(figures: &mut Figures) {
    for (threads, bound) in [(1, 35.0), (2, 60.0)] {
        let limit = Limit::rate("key", Key::Source, RATE).with_burst(ENDLESS);
        let keyed = Keyed::new(&limit, 1 << 20).expect("a limit");
        let ours = nanos(threads, |_| keyed.take(7_u64, 65_536).is_ok());
        let table = RateLimiter::<u64, _, _>::dashmap(Quota::per_second(NonZeroU32::MAX));
        let governor = RateLimiter::direct(Quota::per_second(NonZeroU32::MAX));
        let bucket = leaky_bucket::RateLimiter::builder()
            .initial(usize::MAX >> 2)
            .max(usize::MAX >> 2)
            .build();
        let speed = <async_speed_limit::Limiter>::new(1e15);
        let mutex = Mutex::new((Instant::now(), 1e18_f64));
        let name = format!("one key, {threads} threads");
        figures
            .row(name, "ns", ours)
            .peer(
                "governor keyed",
                nanos(threads, |_| table.check_key(&7).is_ok()),
            )
            .peer("governor", nanos(threads, |_| governor.check().is_ok()))
            .peer("leaky-bucket", nanos(threads, |_| bucket.try_acquire(1)))
            .peer(
                "async-speed-limit",
                nanos(threads, |_| speed.consume_duration(1).is_zero()),
            )
            .peer("mutex bucket", nanos(threads, |_| mutex_bucket(&mutex)))
            .at_most(bound);
    }
}

fn many_keys(figures: &mut Figures) {
    for (threads, bound) in [(1, Some(45.0)), (2, None)] {
        let limit = Limit::rate("keys", Key::Source, RATE).with_burst(ENDLESS);
        let keyed = Keyed::new(&limit, 1 << 20).expect("a limit");
        let governor = RateLimiter::<u64, _, _>::dashmap(Quota::per_second(NonZeroU32::MAX));
        let key = |operation: u32| u64::from(operation).wrapping_mul(0x9e37_79b9) % KEYS;
        let ours = nanos(threads, |operation| keyed.take(key(operation), 1).is_ok());
        let peer = nanos(threads, |operation| {
            governor.check_key(&key(operation)).is_ok()
        });
        let name = format!("{KEYS} keys, {threads} threads");
        let row = figures.row(name, "ns", ours).peer("governor keyed", peer);
        if let Some(bound) = bound {
            row.at_most(bound);
        }
    }
}

/// A frame of a body, each a turn of its own, less what the bare body costs.
fn bodies(figures: &mut Figures) {
    let bare = frames(None);
    let endless = |name: &'static str, key| Limit::rate(name, key, RATE).with_burst(ENDLESS);
    let one = frames(Some(vec![endless("total", Key::Total)])) - bare;
    figures.row("one limit, a body's turn", "ns", one);
    for (what, cut) in [("", false), (" that cuts", true)] {
        let quota = Limit::quota("daily", Key::Principal, ENDLESS, Window::Day).with_cut(cut);
        let quota = frames(Some(vec![quota])) - bare;
        figures.row(format!("a quota{what}, a body's turn"), "ns", quota);
    }
    let cap = frames(Some(vec![Limit::streams("cap", Key::Principal, 10)])) - bare;
    figures.row("a cap on streams, a body's turn", "ns", cap);
    #[cfg(feature = "redis")]
    {
        // No server listens there: each goes on with its part, which no run uses up.
        let fleet = portcullis::rate::Fleet::new("redis://127.0.0.1:1").expect("a URL");
        let leased = endless("total", Key::Total).with_fleet(&fleet);
        let leased = frames(Some(vec![leased])) - bare;
        figures.row("a rate by a fleet's lease, a body's turn", "ns", leased);
    }
    let nested = vec![
        endless("total", Key::Total).with_share(Share::by(Key::Principal)),
        endless("caller", Key::Principal),
        endless("source", Key::Source),
    ];
    let nested = frames(Some(nested)) - bare;
    figures
        .row(
            "three nested limits and a share, a body's turn",
            "ns",
            nested,
        )
        .at_most(150.0);
}

/// What each kind of limit adds to a request and its answer, without a body.
fn requests(figures: &mut Figures) {
    let none = request_nanos(Vec::new());
    figures.row("no limit, a request", "ns", none);
    let rate = Limit::rate("total", Key::Total, RATE).with_burst(ENDLESS);
    for (name, limit) in [
        ("a rate, what it adds to a request", rate),
        (
            "a cap on streams, what it adds to a request",
            Limit::streams("cap", Key::Principal, 1000),
        ),
        (
            "a quota, what it adds to a request",
            Limit::quota("daily", Key::Principal, ENDLESS, Window::Day),
        ),
    ] {
        figures.row(name, "ns", request_nanos(vec![limit]) - none);
    }
}

fn request_nanos(limits: Vec<Limit>) -> f64 {
    let runtime = tokio::runtime::Handle::current();
    let layer = ByteRateLayer::new(Limits::new(limits).expect("limits"));
    let service = tower::service_fn(|_: Request<_>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Large)))
    });
    let mut service = layer.layer(service);
    let principal = Principal::new(Method::Token, "a");
    let requests = OPERATIONS / 8;
    let mut run = || {
        let begin = Instant::now();
        for _ in 0..requests {
            let mut request = Request::new(Empty::<Bytes>::new());
            request.extensions_mut().insert(principal.clone());
            let answer = runtime.block_on(service.call(request));
            black_box(answer.expect("an answer"));
        }
        begin.elapsed().as_nanos() as f64 / f64::from(requests)
    };
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// How long others have to wait while a full table looks for keys to forget.
fn eviction(figures: &mut Figures) {
    // A key owes for a second, so that new ones make its shard look for room, now and then in vain.
    const MOST: usize = 1 << 18;
    let limit = Limit::rate("keys", Key::Source, 1_000_000).with_burst(1_000_000);
    let keyed = Keyed::new(&limit, MOST).expect("a limit");
    for key in 0..2 * MOST as u64 {
        let _ = keyed.take(key, 1_000_000);
    }
    let done = AtomicBool::new(false);
    let mut waits = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut key = 1_u64 << 32;
            while !done.load(Ordering::Relaxed) {
                let _ = keyed.take(key, 1_000_000);
                key += 1;
            }
        });
        let mut waits = Vec::with_capacity(OPERATIONS as usize);
        for operation in 0..OPERATIONS {
            let begin = Instant::now();
            let _ = black_box(keyed.take(u64::from(operation) % 1000, 1));
            waits.push(begin.elapsed().as_nanos() as f64 / 1000.0);
        }
        done.store(true, Ordering::Relaxed);
        waits
    });
    waits.sort_by(f64::total_cmp);
    let at = |part: usize| waits[(waits.len() - 1) * part / 1000];
    let name = "a full table, new keys by another thread";
    figures.row(format!("{name}: p99 of a reservation"), "us", at(990));
    figures
        .row(format!("{name}: slowest reservation"), "us", at(1000))
        .at_most(1000.0);
}

/// A million keys.
fn memory(figures: &mut Figures) {
    let limit = Limit::rate("keys", Key::Source, 1000).with_burst(ENDLESS);
    let keyed = Keyed::new(&limit, 1 << 20).expect("a limit");
    let (mut slowest, begin) = (0.0_f64, Instant::now());
    for key in 0..1_000_000_u64 {
        let before = Instant::now();
        // A debt that lasts: a key that owes nothing may be forgotten.
        let _ = keyed.take(key, 1_000_000);
        slowest = slowest.max(before.elapsed().as_secs_f64() * 1e6);
    }
    let each = begin.elapsed().as_secs_f64() * 1000.0;
    let bytes = keyed.memory() as f64 / keyed.len() as f64;
    figures
        .row("1,000,000 keys, memory of one", "B", bytes)
        .at_most(64.0);
    figures.row("1,000,000 keys, adding one", "ns", each);
    figures
        .row("1,000,000 keys, the slowest addition", "us", slowest)
        .at_most(1000.0);
}

fn mutex_bucket(bucket: &Mutex<(Instant, f64)>) -> bool {
    let mut bucket = bucket.lock().expect("a bucket");
    let now = Instant::now();
    let refilled = bucket.1 + (now - bucket.0).as_secs_f64() * 1e12;
    *bucket = (now, refilled.min(1e18) - 1.0);
    bucket.1 >= 0.0
}

/// The least time of an operation over several runs, when each of `threads` does it at once.
fn nanos(threads: u32, operation: impl Fn(u32) -> bool + Sync) -> f64 {
    let run = || {
        let barrier = Barrier::new(threads as usize);
        let (operation, barrier) = (&operation, &barrier);
        std::thread::scope(|scope| {
            let run = move |thread: u32| {
                barrier.wait();
                let begin = Instant::now();
                for count in 0..OPERATIONS {
                    black_box(operation(count.wrapping_add(thread << 16)));
                }
                begin.elapsed().as_nanos() as f64 / f64::from(OPERATIONS)
            };
            let handles: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || run(thread)))
                .collect();
            let times = handles
                .into_iter()
                .map(|handle| handle.join().expect("a thread"));
            times.fold(0.0, f64::max)
        })
    };
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// The least time of a frame of 256 KiB, so that each takes a turn at every limit.
fn frames(limits: Option<Vec<Limit>>) -> f64 {
    let mut request = Request::new(Empty::<Bytes>::new());
    let extensions = request.extensions_mut();
    extensions.insert(Principal::new(Method::Token, "a"));
    let source = std::net::SocketAddr::from(([10, 0, 0, 1], 1));
    extensions.insert(portcullis::ClientAddr::new(source));
    let service =
        tower::service_fn(|_: Request<_>| async { Ok::<_, Infallible>(Response::new(Large)) });
    let runtime = tokio::runtime::Handle::current();
    let Some(limits) = limits else {
        return time_frames(Large);
    };
    let layer = ByteRateLayer::new(Limits::new(limits).expect("limits"));
    let answer = runtime.block_on(layer.layer(service).oneshot(request));
    let body = answer.expect("an answer").into_body();
    time_frames(body.map_err(|error| error.to_string()))
}

fn time_frames(body: impl Body<Data = Bytes>) -> f64 {
    let mut body = std::pin::pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    let mut run = || {
        let begin = Instant::now();
        for _ in 0..OPERATIONS {
            let frame = body.as_mut().poll_frame(&mut cx);
            assert!(matches!(black_box(frame), Poll::Ready(Some(Ok(_)))));
        }
        begin.elapsed().as_nanos() as f64 / f64::from(OPERATIONS)
    };
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// Endless frames of the largest turn.
struct Large;

impl Body for Large {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS)))))
    }
}
