//! Small bodies, which are paid for at once and need no place in a queue.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]

use crate::rate_support;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use portcullis::rate::{Key, Limit};
use rate_support::{Endless, Frames, layer, read, request, serving, serving_body, total};
use tokio::time::{Instant, advance};
use tower::ServiceExt;

#[tokio::test(start_paused = true)]
async fn many_small_bodies_keep_to_the_rate_together() {
    let layer = layer([Limit::rate("total", Key::Total, 1000).with_burst(1000)]);
    let begin = Instant::now();
    for _ in 0..20 {
        let answer = serving(&layer, 300).oneshot(request(None, "10.0.0.1:1"));
        assert_eq!(total(&read(answer.await.unwrap().into_body()).await), 300);
    }
    let took = begin.elapsed().as_secs_f64();
    assert!((5.0..5.02).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn what_a_cancelled_small_body_had_not_sent_is_given_back() {
    let limits = [
        Limit::rate("total", Key::Total, 1000).with_burst(1000),
        Limit::rate("source", Key::Source, 1000).with_burst(1000),
    ];
    let layer = layer(limits);
    let answer = serving_body(&layer, halves).oneshot(request(None, "10.0.0.1:1"));
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(
        body.frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len(),
        400
    );
    drop(body);
    let begin = Instant::now();
    let answer = serving(&layer, 600).oneshot(request(None, "10.0.0.1:1"));
    read(answer.await.unwrap().into_body()).await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let answer = serving(&layer, 1).oneshot(request(None, "10.0.0.1:1"));
    read(answer.await.unwrap().into_body()).await;
    assert!(begin.elapsed() > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_one_limit_had_let_pass_is_given_back_when_another_does_not() {
    let limits = [
        Limit::rate("total", Key::Total, 1000).with_burst(500),
        Limit::rate("source", Key::Source, 1000).with_burst(1000),
    ];
    let layer = layer(limits);
    let begin = Instant::now();
    let answer = serving(&layer, 600).oneshot(request(None, "10.0.0.1:1"));
    read(answer.await.unwrap().into_body()).await;
    // Were it lost, the source's limit would have held the body for twice that.
    let took = begin.elapsed().as_secs_f64();
    assert!((0.1..0.12).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_small_body_does_not_overtake_those_who_wait() {
    let layer = layer([Limit::rate("total", Key::Total, 1000).with_burst(1000)]);
    let mut cx = Context::from_waker(Waker::noop());
    let answer = serving_body(&layer, || Endless).oneshot(request(None, "10.0.0.1:1"));
    let mut waiting = answer.await.unwrap().into_body();
    while Pin::new(&mut waiting).poll_frame(&mut cx).is_ready() {}
    let answer = serving(&layer, 1).oneshot(request(None, "10.0.0.2:1"));
    let mut small = answer.await.unwrap().into_body();
    // Enough for the one byte, and too little for who came first.
    advance(Duration::from_millis(2)).await;
    assert!(Pin::new(&mut small).poll_frame(&mut cx).is_pending());
    drop(waiting);
    read(small).await;
}

/// 800 bytes in two frames, their number known beforehand.
fn halves() -> Known {
    let frame = || Frame::data(Bytes::from_static(&[7; 400]));
    Known(Frames([frame(), frame()].into()))
}

struct Known(Frames);

impl Body for Known {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        let frames = self.0.0.iter().filter_map(Frame::data_ref);
        SizeHint::with_exact(frames.map(|data| data.len() as u64).sum())
    }
}
