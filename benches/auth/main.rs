//! Authentication: the time of a check at 1, 1,000 and 100,000 credentials beside tower-http's, its
//! allocations, whether time tells a near miss from a far one (in the manner of dudect), and what a
//! flood of wrong passwords does to token users.
//!
//! ```sh
//! cargo bench --bench auth
//! ```
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench")]
#![allow(
    deprecated,
    reason = "tower-http's own authorization is what we compare with"
)]

#[path = "../figures/mod.rs"]
mod figures;
mod timing;

use std::convert::Infallible;
use std::env;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use figures::Figures;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use portcullis::Watched;
use portcullis::auth::{
    Authentication, Credential, Credentials, PasswordOptions, SecretDigest, TokenAuth,
    TokenAuthLayer,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, ServiceExt};
use tower_http::validate_request::ValidateRequestHeaderLayer;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// As long as a generated one.
const TOKEN: &str = "pcls_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHI0001";

/// Answers at once, with nothing.
#[derive(Clone)]
struct Bare;

impl Service<Request<()>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Full::default())))
    }
}

fn main() {
    let quick = env::args().any(|argument| argument == "--test");
    let mut figures = Figures::new("auth");
    checks(&mut figures, if quick { 1_000 } else { 400_000 });
    allocations(&mut figures);
    remembered(&mut figures, if quick { 100 } else { 100_000 });
    timing::timing(&mut figures, if quick { 2_000 } else { 1_000_000 });
    flood(&mut figures, if quick { 20 } else { 2_000 });
    if !quick {
        figures.report();
    }
}

fn secret(number: usize) -> String {
    if number == 0 {
        return TOKEN.to_owned();
    }
    format!("{}{number:08}", &TOKEN[..46])
}

fn gate(count: usize) -> TokenAuth<Bare> {
    let credentials = (0..count).map(|number| {
        let digest = SecretDigest::of_token(secret(number).as_bytes());
        Credential::new(format!("user-{number}")).with_secret(digest)
    });
    let credentials = Credentials::new(credentials).unwrap();
    let authentication = Authentication::token(Watched::fixed(credentials)).with_throttle(None);
    TokenAuthLayer::new(authentication).layer(Bare)
}

fn bearer(token: &str) -> HeaderValue {
    format!("Bearer {token}").parse().unwrap()
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}").parse().unwrap()
}

/// Calls a service whose answer is ready, and gives its status.
fn call<S, B>(service: &mut S, header: &HeaderValue) -> u16
where
    S: Service<Request<()>, Response = Response<B>>,
{
    let mut request = Request::new(());
    request.headers_mut().insert(AUTHORIZATION, header.clone());
    answer(service, request)
}

fn answer<S, B>(service: &mut S, request: Request<()>) -> u16
where
    S: Service<Request<()>, Response = Response<B>>,
{
    let mut context = Context::from_waker(Waker::noop());
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(Ok(response)) => response.status().as_u16(),
        _ => panic!("not ready"),
    }
}

/// Nanoseconds a call; the least of some rounds, since others use the machine too.
fn nanos<S, B>(service: &mut S, headers: &[HeaderValue], calls: usize) -> f64
where
    S: Service<Request<()>, Response = Response<B>>,
{
    let rounds = 10;
    let mut least = f64::INFINITY;
    for _ in 0..rounds {
        let begin = Instant::now();
        for number in 0..calls / rounds {
            black_box(call(service, &headers[number % headers.len()]));
        }
        let each = begin.elapsed().as_nanos() as f64 / (calls / rounds) as f64;
        least = least.min(each);
    }
    least
}

fn checks(figures: &mut Figures, calls: usize) {
    let (one_bearer, one_basic) = ([bearer(TOKEN)], [basic("user-0", TOKEN)]);
    let bare = nanos(&mut Bare, &one_bearer, calls);
    let mut theirs = ValidateRequestHeaderLayer::bearer(TOKEN).layer(Bare);
    let their_bearer = nanos(&mut theirs, &one_bearer, calls) - bare;
    let mut theirs = ValidateRequestHeaderLayer::basic("user-0", TOKEN).layer(Bare);
    let their_basic = nanos(&mut theirs, &one_basic, calls) - bare;
    // What is done with any request whose caller is known: the header goes, the principal comes.
    let mut placing = tower::service_fn(|mut request: Request<()>| {
        request.headers_mut().remove(AUTHORIZATION);
        request
            .extensions_mut()
            .insert(portcullis::Principal::clone(principal()));
        Bare.call(request)
    });
    let placed = nanos(&mut placing, &one_bearer, calls);
    let expected = bearer(TOKEN);
    let begin = Instant::now();
    for _ in 0..calls {
        black_box(black_box(&one_bearer[0]) == black_box(&expected));
    }
    let plain = begin.elapsed().as_nanos() as f64 / calls as f64;
    for count in [1, 1_000, 100_000] {
        let mut ours = gate(count);
        let spread: Vec<usize> = (0..64).map(|step| step * count / 64).collect();
        let bearers: Vec<_> = spread.iter().map(|&at| bearer(&secret(at))).collect();
        let basics: Vec<_> = spread
            .iter()
            .map(|&at| basic(&format!("user-{at}"), &secret(at)))
            .collect();
        assert_eq!(call(&mut ours, &bearers[1]), 200);
        assert_eq!(call(&mut ours, &basics[1]), 200);
        let mut add = |scheme: &str, headers: &[HeaderValue], theirs: f64, target: f64| {
            let whole = nanos(&mut ours, headers, calls);
            for (over, base) in [("bare", bare), ("the request's own handling", placed)] {
                figures
                    .row(
                        format!("{scheme}, {count} credentials, over {over}"),
                        "ns",
                        whole - base,
                    )
                    .peer("tower-http, 1", theirs)
                    .peer("==, 1", plain)
                    .at_most(target);
            }
        };
        add("Bearer", &bearers, their_bearer, 160.0);
        add("Basic", &basics, their_basic, 210.0);
    }
}

/// What an accepted request allocates over the same request on a service that puts a principal into
/// its extensions and does nothing else: the extensions' own boxes are in both.
fn allocations(figures: &mut Figures) {
    let mut only_inserts = tower::service_fn(|mut request: Request<()>| {
        request
            .extensions_mut()
            .insert(portcullis::Principal::clone(principal()));
        Bare.call(request)
    });
    let mut ours = gate(1_000);
    for (name, header) in [("Bearer", bearer(TOKEN)), ("Basic", basic("user-0", TOKEN))] {
        assert_eq!(call(&mut ours, &header), 200);
        call(&mut only_inserts, &header);
        let ours = allocated(|| call(&mut ours, &header));
        let theirs = allocated(|| call(&mut only_inserts, &header));
        let over = ours as f64 - theirs as f64;
        assert!(
            over <= 0.0,
            "{name}: {ours} allocations, {theirs} without the check"
        );
        figures
            .row(
                format!("{name}, allocations over http::Extensions' own"),
                "/100 requests",
                over,
            )
            .at_most(0.0);
    }
}

fn principal() -> &'static portcullis::Principal {
    static PRINCIPAL: std::sync::OnceLock<portcullis::Principal> = std::sync::OnceLock::new();
    PRINCIPAL.get_or_init(portcullis::Principal::anonymous)
}

fn allocated(mut run: impl FnMut() -> u16) -> usize {
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        black_box(run());
    }
    let change = region.change();
    change.allocations + change.reallocations
}

fn with_password(cost: u32) -> Authentication {
    let hash: SecretDigest = bcrypt::hash("open sesame", cost).unwrap().parse().unwrap();
    let credentials = Credentials::new([
        Credential::new("alice").with_secret(hash),
        Credential::new("ci").with_secret(SecretDigest::of_token(TOKEN.as_bytes())),
    ]);
    Authentication::token(Watched::fixed(credentials.unwrap())).with_throttle(None)
}

fn remembered(figures: &mut Figures, calls: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut gate = TokenAuthLayer::new(with_password(4)).layer(Bare);
    let header = basic("alice", "open sesame");
    let mut request = Request::new(());
    request.headers_mut().insert(AUTHORIZATION, header.clone());
    let first = runtime.block_on(gate.clone().oneshot(request)).unwrap();
    assert_eq!(first.status(), 200);
    let _entered = runtime.enter();
    let headers = [header];
    let bare = nanos(&mut Bare, &headers, calls);
    figures
        .row(
            "bcrypt password seen before, over bare",
            "ns",
            nanos(&mut gate, &headers, calls) - bare,
        )
        .at_most(1_000.0);
}

/// The 99th percentile of good token requests while 200 clients send wrong passwords, over that
/// without them. On the machine's own processors: two of them verify nothing but what their share is.
fn flood(figures: &mut Figures, requests: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = PasswordOptions::default().with_concurrent(NonZeroUsize::MIN);
    let gate = TokenAuthLayer::new(with_password(10).with_passwords(&options)).layer(Bare);
    let wrong = |number| basic(if number % 2 == 0 { "alice" } else { "nobody" }, "wrong");
    let (alone, beside, flooded) = runtime.block_on(async {
        let alone = p99(&gate, requests).await;
        let beside = p99_beside(&gate, requests, |_| bearer(TOKEN)).await;
        (alone, beside, p99_beside(&gate, requests, wrong).await)
    });
    figures
        .row(
            "p99 of tokens beside 200 clients with wrong passwords",
            "us",
            flooded,
        )
        .peer("alone", alone)
        .ratio_at_most(1.5);
    // Alone, most of the time is that of waking a machine that sleeps.
    figures
        .row(
            "p99 of tokens beside 200 clients with wrong passwords, or with tokens",
            "us",
            flooded,
        )
        .peer("with tokens", beside)
        .ratio_at_most(1.5);
}

/// [`p99`] while 200 others ask too.
async fn p99_beside(
    gate: &TokenAuth<Bare>,
    requests: usize,
    header: impl Fn(usize) -> HeaderValue,
) -> f64 {
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..200)
        .map(|number| {
            let (gate, over) = (gate.clone(), Arc::clone(&over));
            let header = header(number);
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let mut request = Request::new(());
                    request.headers_mut().insert(AUTHORIZATION, header.clone());
                    black_box(gate.clone().oneshot(request).await.unwrap());
                    // A client needs a moment to send the next.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let p99 = p99(gate, requests).await;
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    p99
}

async fn p99(gate: &TokenAuth<Bare>, requests: usize) -> f64 {
    let header = bearer(TOKEN);
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests {
        let mut request = Request::new(());
        request.headers_mut().insert(AUTHORIZATION, header.clone());
        let gate = gate.clone();
        let begin = Instant::now();
        // On a worker of the runtime, where a blocked one would be felt.
        let answer = tokio::spawn(gate.oneshot(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        times.push(begin.elapsed().as_nanos() as f64 / 1_000.0);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    times.sort_by(f64::total_cmp);
    times[requests * 99 / 100]
}
