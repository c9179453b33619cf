use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use portcullis::crl::{Revocation, RevocationLayer};
use portcullis::tls::{Accepted, Acceptor};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::{Layer, ServiceExt, service_fn};

use crate::pki::Client;

/// A pipe's room in bytes: the server's first flight fits.
const PIPE: usize = 8 * 1024;

/// How many handshakes are in flight at once.
const AT_ONCE: usize = 64;

/// What connections do, in turns.
pub(crate) const KINDS: [Kind; 3] = [Kind::Unused, Kind::Idle, Kind::Transfer];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has asked for nothing yet.
    Unused,
    /// It has had an answer.
    Idle,
    /// It is amid an answer that waits for its next frame.
    Transfer,
}

/// Connections of all kinds, each with a server.
pub(crate) struct Connections {
    ended: mpsc::UnboundedReceiver<Ended>,
}

/// A connection of which a client has seen the end.
pub(crate) struct Ended {
    pub(crate) kind: Kind,
    pub(crate) at: Instant,
}

/// A list that has come into force.
pub(crate) struct Published {
    /// When connections could know of it.
    pub(crate) at: Instant,
    pub(crate) loading: Duration,
}

/// Activates a list, from a thread that is none of the runtime's, as a reload does.
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

/// Shakes hands with each client; gives the server's connections and the clients'.
pub(crate) async fn connect(
    acceptor: &Acceptor,
    clients: &[Client],
) -> Vec<(Accepted<DuplexStream>, TlsStream<DuplexStream>)> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for (at, client) in clients.iter().enumerate() {
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
            (at, server.unwrap(), client.unwrap())
        });
    }
    let mut all = tasks.join_all().await;
    all.sort_by_key(|(at, ..)| *at);
    all.into_iter()
        .map(|(_, server, client)| (server, client))
        .collect()
}

impl Connections {
    pub(crate) fn open(runtime: &Runtime, acceptor: &Acceptor, clients: &[Client]) -> Self {
        let (sender, ended) = mpsc::unbounded_channel();
        runtime.block_on(async {
            let mut opening = JoinSet::new();
            let connected = connect(acceptor, clients).await;
            for ((accepted, client), kind) in connected.into_iter().zip(KINDS.iter().cycle()) {
                let (kind, sender) = (*kind, sender.clone());
                tokio::spawn(serve(accepted));
                opening.spawn(async move {
                    let mut client = ask(client, kind).await;
                    tokio::spawn(async move {
                        // A transfer that is cut ends with an error.
                        let _ = client.read_to_end(&mut Vec::new()).await;
                        let at = Instant::now();
                        // There is no receiver any more once the figures are made.
                        let _ = sender.send(Ended { kind, at });
                    });
                });
            }
            opening.join_all().await;
            // Until each waits for what comes.
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        Self { ended }
    }

    /// When so many of them ended; no more may.
    pub(crate) fn gone(mut self, runtime: &Runtime, count: usize) -> Vec<Ended> {
        runtime.block_on(async {
            let mut gone = Vec::with_capacity(count);
            while gone.len() < count {
                let next = timeout(Duration::from_secs(20), self.ended.recv()).await;
                gone.push(next.expect("a revoked connection stays").unwrap());
            }
            let more = timeout(Duration::from_millis(500), self.ended.recv()).await;
            assert!(more.is_err(), "a connection of somebody good has ended");
            gone
        })
    }
}

async fn serve(accepted: Accepted<DuplexStream>) {
    let Accepted {
        stream, connection, ..
    } = accepted;
    let service = RevocationLayer::new().layer(service_fn(|request: Request<_>| async move {
        let frames: Frames = if request.uri().path() == "/transfer" {
            let head = stream::iter([Ok(Frame::data(Bytes::from_static(b"a part")))]);
            Box::pin(head.chain(stream::pending()))
        } else {
            Box::pin(stream::iter([Ok(Frame::data(Bytes::from_static(
                b"a manifest",
            )))]))
        };
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    }));
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        service.clone().oneshot(request)
    });
    // An error is how a transfer ends.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync>>;

async fn ask(mut client: TlsStream<DuplexStream>, kind: Kind) -> TlsStream<DuplexStream> {
    let (path, last) = match kind {
        Kind::Unused => return client,
        Kind::Idle => ("/v2/", &b"0\r\n\r\n"[..]),
        Kind::Transfer => ("/transfer", &b"a part\r\n"[..]),
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client.flush().await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(last) {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "it ended");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "another answer");
    client
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unused => "not used yet",
            Self::Idle => "idle after a request",
            Self::Transfer => "amid a transfer",
        })
    }
}
