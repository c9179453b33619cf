use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use portcullis::crl::{Revocation, RevocationLayer};
use portcullis::tls::{Accepted, Acceptor};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::{Layer, ServiceExt, service_fn};

use crate::pki::Client;

/// A pipe's room in bytes: the server's first flight fits.
const PIPE: usize = 8 * 1024;

/// How many handshakes are under way at once.
const AT_ONCE: usize = 64;

/// Connections of which every other is idle, and the rest have a transfer under way that waits for
/// its next frame.
pub(crate) struct Connections {
    /// When each that ended did.
    ended: mpsc::UnboundedReceiver<Instant>,
    _clients: Vec<DuplexStream>,
}

/// A list that has come into force.
pub(crate) struct Published {
    /// When connections could know of it.
    pub(crate) at: Instant,
    pub(crate) loading: Duration,
}

/// Puts a list in force, from a thread that is none of the runtime's, as a reload does.
pub(crate) fn publish(revocation: &Revocation, list: &[u8]) -> Published {
    let before = revocation.lists().generation();
    let lists = revocation.lists().clone();
    let watching = std::thread::spawn(move || {
        while lists.generation() == before {
            std::thread::sleep(Duration::from_micros(100));
        }
        Instant::now()
    });
    let began = Instant::now();
    revocation.publish([list]).unwrap();
    let at = watching.join().unwrap();
    Published {
        at,
        loading: at.duration_since(began),
    }
}

/// Shakes hands with each client; gives the server's connections and the pipes of the clients.
pub(crate) async fn connect(
    acceptor: &Acceptor,
    clients: &[Client],
) -> Vec<(Accepted<DuplexStream>, DuplexStream)> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for client in clients {
        let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
        let (acceptor, config) = (acceptor.clone(), Arc::clone(&client.config));
        tasks.spawn(async move {
            let (near, far) = duplex(PIPE);
            let name = ServerName::try_from("localhost").unwrap();
            let (server, client) = tokio::join!(
                acceptor.accept_from(far, "10.0.0.1:1".parse().unwrap()),
                TlsConnector::from(config).connect(name, near),
            );
            drop(turn);
            (server.unwrap(), client.unwrap().into_inner().0)
        });
    }
    tasks.join_all().await
}

impl Connections {
    pub(crate) fn open(runtime: &Runtime, acceptor: &Acceptor, clients: &[Client]) -> Self {
        let (sender, ended) = mpsc::unbounded_channel();
        let mut pipes = Vec::new();
        runtime.block_on(async {
            for (at, (accepted, pipe)) in connect(acceptor, clients).await.into_iter().enumerate() {
                pipes.push(pipe);
                let sender = sender.clone();
                tokio::spawn(async move {
                    if at % 2 == 0 {
                        idle(accepted).await;
                    } else {
                        transfer(accepted).await;
                    }
                    // Nobody asks any more once the figures are made.
                    let _ = sender.send(Instant::now());
                });
            }
            // Until each waits for what comes.
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        Self {
            ended,
            _clients: pipes,
        }
    }

    /// When so many of them ended, in order; no more may.
    pub(crate) fn gone(mut self, runtime: &Runtime, count: usize) -> Vec<Instant> {
        runtime.block_on(async {
            let mut gone = Vec::with_capacity(count);
            while gone.len() < count {
                let next = timeout(Duration::from_secs(20), self.ended.recv()).await;
                gone.push(next.expect("a revoked connection stays").unwrap());
            }
            let more = timeout(Duration::from_millis(500), self.ended.recv()).await;
            assert!(more.is_err(), "a connection of somebody good has ended");
            gone.sort();
            gone
        })
    }
}

async fn idle(mut accepted: Accepted<DuplexStream>) {
    let read = accepted.stream.read_u8().await;
    assert!(read.is_err(), "the client has sent something");
}

async fn transfer(accepted: Accepted<DuplexStream>) {
    let service = RevocationLayer::new().layer(service_fn(|_request| async {
        let frames = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    }));
    let mut request = Request::get("/v2/").body(Full::<Bytes>::default()).unwrap();
    request.extensions_mut().insert(accepted.connection.clone());
    let mut body = service.oneshot(request).await.unwrap().into_body();
    let frame = body.frame().await;
    assert!(
        frame.is_some_and(|frame| frame.is_err()),
        "the body goes on"
    );
}
