//! Streams of HTTP/2 whose client reads nothing, while others of its connection go on.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use crate::rate_support;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use portcullis::rate::{AbortSlow, ByteRateLayer, Key, Limit, Limits};
use portcullis::record::{Cut, Record};
use rate_support::Endless;
use tower::{Layer, ServiceExt};

type Sender = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

const WINDOW: Duration = Duration::from_secs(5);

/// Spawns streams as hyper wants it, which end by themselves if they may.
#[derive(Clone, Copy)]
struct Executor {
    aborts: bool,
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        if self.aborts {
            tokio::spawn(AbortSlow::new(stream));
        } else {
            tokio::spawn(stream);
        }
    }
}

/// An endless body that is counted while it lives.
struct Counted(Arc<AtomicUsize>);

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut Endless).poll_frame(cx)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Server {
    client: Sender,
    bodies: Arc<AtomicUsize>,
    records: Arc<std::sync::Mutex<Vec<Record>>>,
}

impl Server {
    /// One connection, whose client opens so large a window for each stream.
    async fn start(aborts: bool, window: u32) -> Self {
        let limits = Limits::new([Limit::streams("streams", Key::Total, 2)]).unwrap();
        let layer = ByteRateLayer::new(limits.with_min_progress(1000, WINDOW).unwrap());
        let bodies = Arc::new(AtomicUsize::new(0));
        let records = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (noted, counted) = (Arc::clone(&records), Arc::clone(&bodies));
        let service = tower::service_fn(move |mut request: Request<Incoming>| {
            let record = Record::default();
            noted.lock().unwrap().push(record.clone());
            request.extensions_mut().insert(record);
            let counted = Arc::clone(&counted);
            let endless = tower::service_fn(move |_: Request<_>| {
                counted.fetch_add(1, Ordering::Relaxed);
                let body = Counted(Arc::clone(&counted));
                async move { Ok::<_, Infallible>(Response::new(body)) }
            });
            layer.layer(endless).oneshot(request)
        });
        let (client, server) = tokio::io::duplex(1 << 20);
        let serving = hyper::server::conn::http2::Builder::new(Executor { aborts })
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
        tokio::spawn(serving);
        let (client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(1 << 24)
            .handshake(TokioIo::new(client))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self {
            client,
            bodies,
            records,
        }
    }

    async fn get(&mut self) -> Response<Incoming> {
        self.client.ready().await.unwrap();
        let request = Request::get("http://a/").body(Empty::new()).unwrap();
        self.client.send_request(request).await.unwrap()
    }

    fn cuts(&self) -> Vec<Option<Cut>> {
        self.records
            .lock()
            .unwrap()
            .iter()
            .map(Record::cut_by)
            .collect()
    }
}

/// Reads for so long, at far more than the minimum progress.
async fn read_for(body: &mut Incoming, time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        let frame = body.frame().await.unwrap().unwrap();
        assert!(!frame.into_data().unwrap().is_empty());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_keeps_its_place_no_longer_than_the_window() {
    let mut server = Server::start(false, 65_535).await;
    let stalled = server.get().await;
    let mut read = server.get().await.into_body();
    assert_eq!(server.get().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    read_for(&mut read, WINDOW / 2).await;
    assert_eq!(server.get().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.cuts()[0], None);
    read_for(&mut read, WINDOW * 3 / 4).await;
    assert_eq!(server.cuts()[..2], [Some(Cut::TooSlow), None]);
    let third = server.get().await;
    assert_eq!(third.status(), StatusCode::OK);
    assert_eq!(server.get().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    // Its task cannot be ended from outside, but asked again the body fails.
    assert_eq!(server.bodies.load(Ordering::Relaxed), 3);
    stalled.into_body().collect().await.unwrap_err();
    read_for(&mut read, WINDOW).await;
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_is_reset_where_its_task_can_be_aborted() {
    for window in [65_535, 0] {
        let mut server = Server::start(true, 65_535).await;
        let mut read = server.get().await.into_body();
        let mut stalling = Server::start(true, window).await;
        let stalled = stalling.get().await;
        read_for(&mut read, WINDOW * 5 / 4).await;
        assert_eq!(stalling.cuts(), [Some(Cut::TooSlow)]);
        assert_eq!(stalling.bodies.load(Ordering::Relaxed), 0);
        stalled.into_body().collect().await.unwrap_err();

        // On one connection only that stream is ended.
        let stalled = server.get().await;
        read_for(&mut read, WINDOW * 5 / 4).await;
        assert_eq!(server.cuts(), [None, Some(Cut::TooSlow)]);
        assert_eq!(server.bodies.load(Ordering::Relaxed), 1);
        stalled.into_body().collect().await.unwrap_err();
        read_for(&mut read, WINDOW).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connections_task_ends_when_its_client_reads_nothing() {
    let limits = Limits::new([]).unwrap();
    let layer = ByteRateLayer::new(limits.with_min_progress(1000, WINDOW).unwrap());
    let (mut client, server) = tokio::io::duplex(1024);
    let service = layer.layer(tower::service_fn(|_: Request<_>| async {
        Ok::<_, Infallible>(Response::new(Endless))
    }));
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
    let serving = tokio::spawn(AbortSlow::new(serving));
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, get)
        .await
        .unwrap();
    let begin = tokio::time::Instant::now();
    assert!(serving.await.unwrap().is_none(), "ended from outside");
    assert!(begin.elapsed() < WINDOW * 5 / 4, "{:?}", begin.elapsed());
}
