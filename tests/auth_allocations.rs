//! What an accepted token costs the allocator: nothing over what `http::Extensions` takes to keep any
//! principal.
#![cfg(feature = "auth")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use portcullis::auth::{Authentication, Credential, Credentials, Secret, TokenAuthLayer};
use portcullis::{ClientAddr, Principal, Watched};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const TOKEN: &str = "pcls_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHI0001";

fn answer(request: Request<Full<Bytes>>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    black_box(request);
    ready(Ok(Response::new(Full::default())))
}

fn allocated<S, B>(service: &mut S, header: &HeaderValue) -> usize
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
{
    let mut call = || {
        let mut request = Request::new(Full::<Bytes>::default());
        request.headers_mut().insert(AUTHORIZATION, header.clone());
        let client = ClientAddr::new("192.0.2.1:4711".parse().unwrap());
        request.extensions_mut().insert(client);
        let mut context = Context::from_waker(Waker::noop());
        match pin!(service.call(request)).poll(&mut context) {
            Poll::Ready(Ok(response)) => assert_eq!(response.status(), 200),
            _ => panic!("not ready"),
        }
    };
    // What is made once, at the first.
    call();
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        call();
    }
    let change = region.change();
    change.allocations + change.reallocations
}

#[test]
fn an_accepted_token_allocates_nothing_but_the_place_of_its_principal() {
    let ci = Credential::new("ci")
        .in_groups(["pushers"])
        .with_secret(Secret::of_token(TOKEN.as_bytes()));
    let credentials = Watched::fixed(Credentials::new([ci]).unwrap());
    let mut gate =
        TokenAuthLayer::new(Authentication::token(credentials)).layer(service_fn(answer));
    let principal = Principal::anonymous();
    let mut only_inserts = service_fn(|mut request: Request<Full<Bytes>>| {
        request.extensions_mut().insert(principal.clone());
        answer(request)
    });
    let pair = BASE64_STANDARD.encode(format!("ci:{TOKEN}"));
    for header in [format!("Bearer {TOKEN}"), format!("Basic {pair}")] {
        let header = header.parse().unwrap();
        let theirs = allocated(&mut only_inserts, &header);
        assert_eq!(allocated(&mut gate, &header), theirs, "{header:?}");
    }
}
