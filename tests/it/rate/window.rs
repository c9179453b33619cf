//! What a receiver sees: never more than the rate and one burst in any window, in paused time.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]

use crate::rate_support;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use portcullis::rate::{ByteRateLayer, Key, Limit, Share};
use proptest::prelude::*;
use rate_support::{Endless, Reader, Sent, assert_conforms, layer, read, request, serving_body};
use tokio::time::{Instant, advance};
use tower::ServiceExt;

const RATE: u64 = 100_000;
const BURST: u64 = 20_000;

type Open = UnsyncBoxBody<Bytes, String>;

/// A body without an end, of frames much smaller than a turn.
struct Crumbs;

impl Body for Crumbs {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 300])))))
    }
}

async fn open(layer: &ByteRateLayer, principal: &str) -> Open {
    let request = request(Some(principal), "10.0.0.1:1");
    let answer = serving_body(layer, || Crumbs).oneshot(request).await;
    answer.unwrap().into_body()
}

/// Reads so many frames, or fewer if it would have to wait.
fn take(body: &mut Open, frames: usize, begin: Instant, sent: &mut Sent) {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..frames {
        let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(&mut cx) else {
            return;
        };
        let data = frame.unwrap().unwrap().into_data().unwrap();
        sent.push((begin.elapsed(), data.len()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_stalled_streams_held_does_not_come_on_top_of_what_passed_since() {
    for shared in [false, true] {
        let mut limit = Limit::rate("total", Key::Total, RATE).with_burst(BURST);
        if shared {
            limit = limit.with_share(Share::by(Key::Principal));
        }
        let layer = layer([limit]);
        let (begin, mut sent) = (Instant::now(), Sent::new());
        let mut stalled = Vec::new();
        for stream in 0..10 {
            let mut body = open(&layer, &format!("stalled-{stream}")).await;
            take(&mut body, 1, begin, &mut sent);
            stalled.push(body);
            advance(Duration::from_millis(20)).await;
        }
        advance(Duration::from_secs(1)).await;
        let mut other = open(&layer, "other").await;
        take(&mut other, 1000, begin, &mut sent);
        // Some give back what they held, and the others send it.
        stalled.truncate(6);
        for _ in 0..100 {
            for body in stalled.iter_mut().chain([&mut other]) {
                take(body, 1000, begin, &mut sent);
            }
            advance(Duration::from_millis(1)).await;
        }
        assert_conforms(&sent, RATE, BURST);
        // And nothing is lost that there is: the burst and the rate of 100 ms.
        let last: usize = sent.iter().skip(10).map(|(_, bytes)| bytes).sum();
        assert!(last as u64 > BURST + RATE / 10 - 2000, "{last}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_window_has_more_however_streams_stall_and_go(
        steps in proptest::collection::vec((0_usize..8, 0_u8..8, 0_usize..40, 0_u64..60), 1..150),
        shared in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut total = Limit::rate("total", Key::Total, RATE).with_burst(BURST);
            if shared {
                total = total.with_share(Share::by(Key::Principal));
            }
            let caller = Limit::rate("caller", Key::Principal, RATE / 2).with_burst(BURST / 2);
            let layer = layer([total, caller]);
            let (begin, mut sent) = (Instant::now(), Sent::new());
            let mut by_caller = [Sent::new(), Sent::new()];
            let names = ["a", "b"];
            let mut streams = Vec::new();
            for stream in 0..8 {
                streams.push(open(&layer, names[stream % 2]).await);
            }
            for (stream, action, frames, pause) in steps {
                let before = sent.len();
                take(&mut streams[stream], frames, begin, &mut sent);
                by_caller[stream % 2].extend_from_slice(&sent[before..]);
                if action == 0 {
                    streams[stream] = open(&layer, names[stream % 2]).await;
                }
                advance(Duration::from_millis(pause)).await;
            }
            assert_conforms(&sent, RATE, BURST);
            for sent in by_caller {
                assert_conforms(&sent, RATE / 2, BURST / 2);
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_though_those_before_it_stopped_reading() {
    let layer = layer([Limit::rate("total", Key::Total, 1_000_000)]);
    let busy = Reader::many(&layer, "a", 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bytes = || busy.iter().map(Reader::bytes).sum::<u64>();
    for round in 0..20 {
        let mut stalled = Vec::new();
        for stream in 0..5 {
            let request = request(Some(&format!("stalled-{stream}")), "10.0.0.1:1");
            let answer = serving_body(&layer, || Endless).oneshot(request).await;
            let mut body = answer.unwrap().into_body();
            // It is made to wait, and not seen again.
            let _ = tokio::time::timeout(Duration::ZERO, read(Pin::new(&mut body))).await;
            stalled.push(body);
        }
        let (mut last, mut since, mut longest) = (bytes(), Instant::now(), Duration::ZERO);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            longest = longest.max(since.elapsed());
            if bytes() > last {
                (last, since) = (bytes(), Instant::now());
            }
        }
        // The first time, the new streams have several turns before the others.
        let bound = if round == 0 { 35 } else { 25 };
        assert!(longest <= Duration::from_millis(bound), "{longest:?}");
    }
}
