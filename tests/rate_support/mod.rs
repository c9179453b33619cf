//! What the tests of byte rates have in common.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::cast_precision_loss, reason = "figures of a test")]

#[cfg(feature = "redis")]
pub(crate) mod redis;

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

/// The length of the next frame, which there is and which is of data.
pub(crate) async fn next_frame<B>(body: &mut B) -> usize
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let frame = body.frame().await.unwrap().unwrap();
    frame.into_data().unwrap().len()
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
    let request = Request::get("/").header("host", "registry.example");
    let mut request = request.body(Empty::new()).unwrap();
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

/// A body without an end.
pub(crate) struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static ZEROS: [u8; 65_536] = [0; 65_536];
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS)))))
    }
}

/// A stream in flight in a task of its own.
pub(crate) struct Reader {
    bytes: std::sync::Arc<std::sync::atomic::AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Reader {
    /// Reads an endless body as this caller.
    pub(crate) async fn start(layer: &ByteRateLayer, principal: &str) -> Self {
        Self::start_with(layer, request(Some(principal), "10.0.0.1:1")).await
    }

    /// Reads an endless body.
    pub(crate) async fn start_with(layer: &ByteRateLayer, request: Request<Empty<Bytes>>) -> Self {
        let service = serving_body(layer, || Endless);
        let mut body = service.oneshot(request).await.unwrap().into_body();
        let bytes = std::sync::Arc::default();
        let count = std::sync::Arc::clone(&bytes);
        let task = tokio::spawn(async move {
            while let Some(Ok(frame)) = body.frame().await {
                let data = frame.into_data().unwrap_or_default();
                std::sync::atomic::AtomicU64::fetch_add(
                    &count,
                    data.len() as u64,
                    std::sync::atomic::Ordering::Relaxed,
                );
                // As a real reader does: others run between two frames.
                tokio::task::yield_now().await;
            }
        });
        Self { bytes, task }
    }

    /// Reads with so many streams.
    pub(crate) async fn many(layer: &ByteRateLayer, principal: &str, streams: usize) -> Vec<Self> {
        let mut readers = Vec::new();
        for _ in 0..streams {
            readers.push(Self::start(layer, principal).await);
        }
        readers
    }

    /// Whether the stream has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends the stream, and says how many bytes came in all.
    pub(crate) async fn stop(mut self) -> u64 {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.bytes()
    }

    /// How many bytes came so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How many bytes each of these groups of readers got within `time`.
pub(crate) async fn during(time: Duration, groups: &[&[Reader]]) -> Vec<u64> {
    let sums = || -> Vec<u64> {
        let sum = |group: &&[Reader]| group.iter().map(Reader::bytes).sum();
        groups.iter().map(sum).collect()
    };
    let before = sums();
    tokio::time::sleep(time).await;
    let after = sums();
    after
        .iter()
        .zip(&before)
        .map(|(after, before)| after - before)
        .collect()
}

/// Jain's index of fairness: 1 if all are alike, 1/n if one has everything.
pub(crate) fn jain(values: &[u64]) -> f64 {
    let sum: f64 = values.iter().map(|&value| value as f64).sum();
    let squares: f64 = values.iter().map(|&value| (value as f64).powi(2)).sum();
    sum * sum / (values.len() as f64 * squares)
}

/// Asserts that a figure is within a part of what it should be.
pub(crate) fn assert_near(value: u64, expected: u64, part: f64, what: &str) {
    let off = (value as f64 - expected as f64).abs() / expected as f64;
    assert!(off <= part, "{what}: {value} instead of {expected}");
}
