//! What the tests of byte rates have in common.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use portcullis::ClientAddr;
use portcullis::identity::{Method as Shown, Principal};
use portcullis::rate::{ByteRateLayer, Limit, Limits};
use tokio::time::Instant;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt};

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, String>>;
pub(crate) type Serving = BoxCloneService<Request<Empty<Bytes>>, Answer, Infallible>;
pub(crate) type Sent = Vec<(Duration, usize)>;

/// Reads a body to its end, noting when each frame came.
pub(crate) async fn read<B>(body: B) -> Sent
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let begin = Instant::now();
    let mut body = std::pin::pin!(body);
    let mut sent = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            sent.push((begin.elapsed(), data.len()));
        }
    }
    sent
}

pub(crate) fn total(sent: &Sent) -> usize {
    sent.iter().map(|(_, bytes)| bytes).sum()
}

/// Asserts that no window holds more than the burst and the rate times its length.
pub(crate) fn assert_conforms(sent: &Sent, rate: u64, burst: u64) {
    for (first, &(from, _)) in sent.iter().enumerate() {
        let mut bytes = 0;
        for &(to, frame) in &sent[first..] {
            bytes += frame as u128;
            let allowed =
                u128::from(rate) * (to.saturating_sub(from)).as_nanos() / 1_000_000_000 + 1;
            assert!(
                bytes <= allowed + u128::from(burst),
                "{bytes} bytes from {from:?} to {to:?}"
            );
        }
    }
}

pub(crate) fn request(principal: Option<&str>, source: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    let extensions = request.extensions_mut();
    extensions.insert(ClientAddr::new(source.parse().unwrap()));
    if let Some(id) = principal {
        extensions.insert(Principal::new(Shown::Token, id));
    }
    request
}

/// A service that answers with a body of `bytes`, behind `layer`.
pub(crate) fn serving(layer: &ByteRateLayer, bytes: usize) -> Serving {
    serving_body(layer, move || Full::new(Bytes::from(vec![7; bytes])))
}

/// A service that answers with what `body` makes, behind `layer`.
pub(crate) fn serving_body<B>(
    layer: &ByteRateLayer,
    body: impl Fn() -> B + Clone + Send + 'static,
) -> Serving
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let service = tower::service_fn(move |_: Request<_>| {
        let response = Response::new(body());
        async move { Ok::<_, Infallible>(response) }
    });
    let limited = layer.layer(service);
    BoxCloneService::new(limited.map_response(|response| {
        response.map(|body| body.map_err(|error| error.to_string()).boxed_unsync())
    }))
}

/// A body of these frames.
pub(crate) struct Frames(pub(crate) VecDeque<Frame<Bytes>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

pub(crate) fn layer(limits: impl IntoIterator<Item = Limit>) -> ByteRateLayer {
    ByteRateLayer::new(Limits::new(limits).unwrap())
}
