//! What went wrong in another limiter, and does not here: a test for each case, with its number in
//! the name.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use portcullis::ClientAddr;
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits, Window};
use proptest::prelude::*;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

const QUOTA: u64 = 1 << 40;
const RATE: u64 = 1_000_000;
const BURST: u64 = 16_384;

/// What a body says of its length before it is read.
#[derive(Clone, Copy, Debug)]
enum Says {
    Exactly,
    Nothing,
    /// That it is over, or at most a byte: the length of a piece that was never filled in.
    TooLittle,
}

struct Piece {
    frames: std::vec::IntoIter<usize>,
    says: Says,
}

impl Body for Piece {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.frames.next();
        Poll::Ready(frame.map(|bytes| Ok(Frame::data(Bytes::from(vec![7; bytes])))))
    }

    fn size_hint(&self) -> SizeHint {
        let rest: usize = self.frames.as_slice().iter().sum();
        match self.says {
            Says::Exactly => SizeHint::with_exact(rest as u64),
            Says::Nothing => SizeHint::default(),
            Says::TooLittle => SizeHint::with_exact(u64::from(rest > 0)),
        }
    }
}

/// How many bytes the quota has left, by the client's header.
async fn left(layer: &ByteRateLayer) -> u64 {
    let service = layer.layer(service_fn(|_: Request<_>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let response = service.oneshot(request(Empty::new())).await.unwrap();
    let told = response.headers()["ratelimit"].to_str().unwrap();
    let (_, rest) = told.split_once("\"source.quota\";r=").unwrap();
    rest.split(';').next().unwrap().parse().unwrap()
}

fn request<B>(body: B) -> Request<B> {
    let mut request = Request::new(body);
    let client = ClientAddr::new("10.0.0.1:1".parse().unwrap());
    request.extensions_mut().insert(client);
    request
}

/// Sends `up` and receives as many frames of `down` as `taken` says; gives the bytes that passed.
async fn pass(layer: &ByteRateLayer, up: Piece, down: Piece, taken: usize) -> u64 {
    let down = std::sync::Mutex::new(Some(down));
    let service = layer.layer(service_fn(|request: Request<_>| {
        let down = down.lock().unwrap().take();
        async {
            let body = request.into_body();
            let sent = BodyExt::collect(body).await.unwrap().to_bytes().len();
            let mut response = Response::new(down.unwrap());
            response.extensions_mut().insert(sent);
            Ok::<_, Infallible>(response)
        }
    }));
    let response = service.oneshot(request(up)).await.unwrap();
    let mut passed = *response.extensions().get::<usize>().unwrap();
    let mut body = response.into_body();
    for _ in 0..taken {
        let Some(frame) = body.frame().await else {
            break;
        };
        passed += frame.unwrap().into_data().unwrap().len();
    }
    passed as u64
}

fn frames() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![Just(0), 1_usize..100_000], 0..8)
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        Just(Says::Exactly),
        Just(Says::Nothing),
        Just(Says::TooLittle)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn cve_2025_59348_dragonfly_every_byte_that_passes_is_counted_and_held_to_the_rate(
        transfers in prop::collection::vec((frames(), says(), frames(), says(), 0_usize..200), 1..6),
    ) {
        let limit = Limit::rate("source", Key::Source, RATE)
            .with_burst(BURST)
            .with_quota(QUOTA, Window::Month);
        let layer = ByteRateLayer::new(Limits::new([limit]).unwrap().with_headers(true));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let begin = Instant::now();
            let mut passed = 0;
            for (up, up_says, down, down_says, taken) in transfers {
                let up = Piece { frames: up.into_iter(), says: up_says };
                let down = Piece { frames: down.into_iter(), says: down_says };
                passed += pass(&layer, up, down, taken).await;
            }
            let took = begin.elapsed();
            prop_assert_eq!(QUOTA - left(&layer).await, passed);
            let allowed = u128::from(BURST) + u128::from(RATE) * took.as_nanos() / 1_000_000_000;
            prop_assert!(u128::from(passed) <= allowed + 1, "{} bytes in {:?}", passed, took);
            Ok(())
        })?;
    }
}
