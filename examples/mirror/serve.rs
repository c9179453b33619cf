//! Accepts connections, serves the requests on them, and lets them finish at the end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use portcullis::connection::descriptors_to_spare;
use portcullis::rate::AbortSlow;
use portcullis::tls::{Acceptor, AddConnection};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// How many connections are open at once. More wait in the listener's queue.
const CONNECTIONS: usize = 4096;

/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(30);

/// Serves `service` until `stop`, then for at most `drain` the requests in flight. Returns whether all
/// of it finished.
pub(crate) async fn serve<S, B>(
    listener: TcpListener,
    acceptor: Acceptor,
    service: S,
    stop: CancellationToken,
    drain: Duration,
) -> bool
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            descriptors_to_spare().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                // Out of the system's file descriptors, most likely: give the others time to end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let acceptor = acceptor.clone();
        let service = service.clone();
        let watcher = graceful.watcher();
        let stopping = stop.clone();
        tokio::spawn(async move {
            let _place = place;
            let accepted = tokio::select! {
                accepted = acceptor.accept_from(stream, peer) => Some(accepted),
                // No request has been read from it.
                () = stopping.cancelled() => None,
            };
            // Why there is none has been logged.
            if let Some(Ok(accepted)) = accepted {
                let service = AddConnection::new(service, accepted.connection);
                let service = TowerToHyperService::new(service);
                let builder = builder();
                let served = builder.serve_connection(TokioIo::new(accepted.stream), service);
                if let Err(error) = watcher.watch(served).await {
                    tracing::debug!(%peer, error, "a connection ended early");
                }
            }
        });
    }
    drop(listener);
    let in_flight = CONNECTIONS - places.available_permits();
    tracing::info!(connections = in_flight, "draining");
    tokio::select! {
        () = graceful.shutdown() => true,
        () = tokio::time::sleep(drain) => false,
    }
}

/// Spawns the streams of HTTP/2: one whose client reads too slowly is reset.
#[derive(Clone)]
struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        tokio::spawn(AbortSlow::new(stream));
    }
}

fn builder() -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .keep_alive_interval(HEAD)
        .keep_alive_timeout(HEAD);
    builder
}
