//! Authentication: the time of a check at 1, 1,000 and 100,000 credentials beside tower-http's, its
//! allocations, whether time tells a wrong password from an unknown user (in the manner of dudect), and what
//! a flood of wrong passwords does to token users.
//!
//! ```sh
//! cargo bench --bench auth                      # or parts: -- checks timing flood
//! ```
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench")]
#![allow(
    deprecated,
    reason = "tower-http's own authorization is what we compare with"
)]

#[path = "../figures/mod.rs"]
mod figures;
mod flood;
mod timing;

use std::convert::Infallible;
use std::env;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use figures::Figures;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use portcullis::auth::{Authentication, Credential, Credentials, Secret, TokenAuthLayer};
use portcullis::{ClientAddr, Watched};
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

impl Service<Request<Full<Bytes>>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Full::default())))
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--test");
    let parts: Vec<_> = arguments
        .iter()
        .filter(|part| !part.starts_with("--"))
        .collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|one| *one == part);
    let mut figures = Figures::new("auth");
    if wanted("checks") {
        checks(&mut figures, if quick { 1_000 } else { 400_000 });
        allocations(&mut figures);
        remembered(&mut figures, if quick { 100 } else { 100_000 });
    }
    if wanted("timing") {
        timing::timing(&mut figures, if quick { 2_000 } else { 1_000_000 });
    }
    if wanted("flood") {
        flood::flood(&mut figures, if quick { 1 } else { 20 });
    }
    match (quick, parts.is_empty()) {
        (true, _) => {}
        (false, true) => figures.report(),
        (false, false) => figures.print(),
    }
}

fn secret(number: usize) -> String {
    if number == 0 {
        return TOKEN.to_owned();
    }
    format!("{}{number:08}", &TOKEN[..46])
}

/// All are as long: what differs between counts is to be the count.
fn user(number: usize) -> String {
    format!("user-{number:06}")
}

fn authentication(count: usize) -> Authentication {
    let credentials = (0..count).map(|number| {
        let digest = Secret::of_token(secret(number).as_bytes());
        Credential::new(user(number)).with_secret(digest)
    });
    Authentication::token(Watched::fixed(Credentials::new(credentials).unwrap()))
}

fn bearer(token: &str) -> HeaderValue {
    format!("Bearer {token}").parse().unwrap()
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}").parse().unwrap()
}

/// A request as an acceptor hands it on.
fn request(header: &HeaderValue) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::<Bytes>::default());
    request.headers_mut().insert(AUTHORIZATION, header.clone());
    let client = SocketAddr::from(([198, 51, 100, 7], 4711));
    request.extensions_mut().insert(ClientAddr::new(client));
    request
}

/// Calls a service whose answer is ready, and gives its status.
fn call<S, B>(service: &mut S, header: &HeaderValue) -> u16
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
{
    let Ok(response) = now(service.call(request(header))) else {
        panic!("failed");
    };
    response.status().as_u16()
}

/// What a future that is ready gives.
fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// Nanoseconds a call with each number in turn; the least of some rounds, since others use the machine
/// too.
fn nanos<T>(calls: usize, mut call: impl FnMut(usize) -> T) -> f64 {
    let rounds = 20;
    let round = |_| {
        let begin = Instant::now();
        for number in 0..calls / rounds {
            black_box(call(number));
        }
        begin.elapsed().as_nanos() as f64 / (calls / rounds) as f64
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}

/// [`nanos`] of a service over those of one that does nothing.
fn over_bare<S, B>(service: &mut S, headers: &[HeaderValue], calls: usize) -> f64
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
{
    let header = |number: usize| &headers[number % headers.len()];
    let bare = nanos(calls, |number| call(&mut Bare, header(number)));
    nanos(calls, |number| call(service, header(number))) - bare
}

fn checks(figures: &mut Figures, calls: usize) {
    let (one_bearer, one_basic) = ([bearer(TOKEN)], [basic("user-000000", TOKEN)]);
    let mut theirs = ValidateRequestHeaderLayer::bearer(TOKEN).layer(Bare);
    let their_bearer = over_bare(&mut theirs, &one_bearer, calls);
    let mut theirs = ValidateRequestHeaderLayer::basic("user-000000", TOKEN).layer(Bare);
    let their_basic = over_bare(&mut theirs, &one_basic, calls);
    // What is done with any request whose caller is known: the header goes, the principal comes.
    let mut placing = tower::service_fn(|mut request: Request<Full<Bytes>>| {
        request.headers_mut().remove(AUTHORIZATION);
        request
            .extensions_mut()
            .insert(portcullis::Principal::clone(principal()));
        Bare.call(request)
    });
    let placing = over_bare(&mut placing, &one_bearer, calls);
    let expected = bearer(TOKEN);
    let plain = nanos(calls, |_| black_box(&one_bearer[0]) == black_box(&expected));
    let mut of_one = [None; 2];
    for count in [1, 1_000, 100_000] {
        let authentication = authentication(count);
        let mut layer = TokenAuthLayer::new(authentication.clone()).layer(Bare);
        let spread: Vec<usize> = (0..64).map(|step| step * count / 64).collect();
        let bearers: Vec<_> = spread.iter().map(|&at| bearer(&secret(at))).collect();
        let basics: Vec<_> = spread
            .iter()
            .map(|&at| basic(&user(at), &secret(at)))
            .collect();
        for (scheme, headers, theirs, target) in [
            ("Bearer", &bearers, their_bearer, 160.0),
            ("Basic", &basics, their_basic, 210.0),
        ] {
            let requests: Vec<_> = headers.iter().map(request).collect();
            let check = |number: usize| {
                let identified = now(authentication.identify(&requests[number % requests.len()]));
                assert!(identified.is_ok());
            };
            let check = nanos(calls, check);
            figures
                .row(format!("{scheme} check, {count} credentials"), "ns", check)
                .peer("tower-http, 1", theirs)
                .peer("==, 1", plain)
                .at_most(target);
            let of_one = of_one[usize::from(scheme == "Basic")].get_or_insert(check);
            if count == 100_000 {
                figures
                    .row(format!("{scheme} check, 100000 credentials"), "ns", check)
                    .peer("1 credential", *of_one)
                    .ratio_at_most(1.1);
            }
            if count == 1_000 {
                fail_elsewhere(&authentication);
                let check = |number: usize| {
                    now(authentication.identify(&requests[number % requests.len()])).is_ok()
                };
                figures
                    .row(
                        format!("{scheme} check, 1000 credentials, others are throttled"),
                        "ns",
                        nanos(calls, check),
                    )
                    .at_most(target);
            }
            assert_eq!(call(&mut layer, &headers[1]), 200);
            figures
                .row(
                    format!("{scheme} layer over none, {count} credentials"),
                    "ns",
                    over_bare(&mut layer, headers, calls),
                )
                .peer("tower-http, 1", theirs)
                .peer("header taken off and principal put on", placing);
        }
    }
}

/// Another source fails until it is throttled, after which the throttle looks at every source.
fn fail_elsewhere(authentication: &Authentication) {
    let mut wrong = request(&bearer("wrong"));
    let client = SocketAddr::from(([203, 0, 113, 1], 4711));
    wrong.extensions_mut().insert(ClientAddr::new(client));
    for _ in 0..40 {
        assert!(now(authentication.identify(&wrong)).is_err());
    }
}

/// What an accepted request allocates over the same request on a service that puts a principal into
/// its extensions and does nothing else: the extensions' own boxes are in both.
fn allocations(figures: &mut Figures) {
    let mut only_inserts = tower::service_fn(|mut request: Request<Full<Bytes>>| {
        request
            .extensions_mut()
            .insert(portcullis::Principal::clone(principal()));
        Bare.call(request)
    });
    let mut ours = TokenAuthLayer::new(authentication(1_000)).layer(Bare);
    for (name, header) in [
        ("Bearer", bearer(TOKEN)),
        ("Basic", basic("user-000000", TOKEN)),
    ] {
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
    let hash: Secret = bcrypt::hash("open sesame", cost).unwrap().parse().unwrap();
    let credentials = Credentials::new([
        Credential::new("alice").with_secret(hash),
        Credential::new("ci").with_secret(Secret::of_token(TOKEN.as_bytes())),
    ]);
    Authentication::token(Watched::fixed(credentials.unwrap())).with_throttle(None)
}

fn remembered(figures: &mut Figures, calls: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut gate = TokenAuthLayer::new(with_password(10)).layer(Bare);
    let header = basic("alice", "open sesame");
    let first = runtime.block_on(gate.clone().oneshot(request(&header)));
    assert_eq!(first.unwrap().status(), 200);
    let _entered = runtime.enter();
    let again = over_bare(&mut gate, &[header], calls);
    let hash = bcrypt::hash("open sesame", 10).unwrap();
    let bcrypt = nanos(40, |_| bcrypt::verify("open sesame", &hash));
    let argon = Argon2::default();
    let hash = argon.hash_password(b"open sesame").unwrap().to_string();
    let hash = PasswordHash::new(&hash).unwrap();
    let argon = nanos(40, |_| argon.verify_password(b"open sesame", &hash));
    figures
        .row("bcrypt password seen before", "ns", again)
        .peer("bcrypt of cost 10 each time, as nginx", bcrypt)
        .peer("Argon2id of 19 MiB and 2 passes each time", argon)
        .at_most(1_000.0);
}
