//! What asks the servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::cases::TOKEN;

/// The blob's path at our servers and at the peers'.
pub(crate) const BLOB: &str = "/v2/library/alpine/blobs/\
     sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// The blob's length.
pub(crate) const LENGTH: u64 = 1 << 30;

const MANIFEST: &str = "/v2/library/alpine/manifests/3.22";
/// How many connections there are at once, and how many streams over HTTP/2.
const AT_ONCE: usize = 8;

/// How a server is asked.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wire {
    Plain1,
    Tls1,
    Tls2,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Asked {
    Manifest,
    /// The same with a token that is not right.
    Refused,
}

/// Connections that are kept.
pub(crate) struct Connections(Vec<Sender>);

enum Sender {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

pub(crate) struct Load {
    runtime: Runtime,
    tls: Arc<rustls::ClientConfig>,
}

impl Wire {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain1 => "plain HTTP/1.1",
            Self::Tls1 => "TLS HTTP/1.1",
            Self::Tls2 => "TLS HTTP/2",
        }
    }
}

impl Load {
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Self {
            runtime: runtime.unwrap(),
            tls,
        }
    }

    pub(crate) fn connect(&self, wire: Wire, address: SocketAddr) -> Connections {
        let senders = (0..AT_ONCE).map(|_| self.sender(wire, address));
        Connections(self.runtime.block_on(join_all(senders)))
    }

    /// Asks so many times, over all connections at once.
    pub(crate) fn ask(&self, connections: &mut Connections, asked: Asked, requests: usize) {
        let each = requests / connections.0.len();
        let asking = connections.0.iter_mut().map(async |sender| {
            for _ in 0..each {
                let response = sender.send(request(MANIFEST, asked)).await;
                let expected = match asked {
                    Asked::Manifest => StatusCode::OK,
                    Asked::Refused => StatusCode::UNAUTHORIZED,
                };
                let status = response.status();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(status, expected, "{asked:?}: {body:?}");
            }
        });
        self.runtime.block_on(join_all(asking));
    }

    /// Reads the blob, and says how long it was.
    pub(crate) fn blob(&self, address: SocketAddr) -> u64 {
        self.runtime.block_on(async {
            let mut sender = self.sender(Wire::Tls1, address).await;
            let response = sender.send(request(BLOB, Asked::Manifest)).await;
            assert_eq!(response.status(), StatusCode::OK);
            let mut body = response.into_body();
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                length += frame.unwrap().data_ref().map_or(0, Bytes::len) as u64;
            }
            assert_eq!(length, LENGTH);
            length
        })
    }

    async fn sender(&self, wire: Wire, address: SocketAddr) -> Sender {
        let tcp = connect(address).await;
        if wire == Wire::Plain1 {
            let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
            tokio::spawn(connection);
            return Sender::One(sender);
        }
        let mut config = (*self.tls).clone();
        let protocol: &[u8] = if wire == Wire::Tls2 {
            b"h2"
        } else {
            b"http/1.1"
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await;
        let io = TokioIo::new(tls.unwrap());
        if wire == Wire::Tls1 {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Sender::One(sender)
        } else {
            let executor = TokioExecutor::new();
            let (sender, connection) = http2::handshake(executor, io).await.unwrap();
            tokio::spawn(connection);
            Sender::Two(sender)
        }
    }
}

impl Sender {
    async fn send(&mut self, mut request: Request<Empty<Bytes>>) -> Response<Incoming> {
        match self {
            Self::One(sender) => {
                *request.uri_mut() = request.uri().path().parse().unwrap();
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::Two(sender) => {
                // The authority says it, and nginx refuses it twice.
                request.headers_mut().remove(HOST);
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
        }
    }
}

fn request(path: &str, asked: Asked) -> Request<Empty<Bytes>> {
    let token = match asked {
        Asked::Manifest => TOKEN,
        Asked::Refused => "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jx",
    };
    Request::get(format!("https://localhost{path}"))
        .header("host", "localhost")
        .header("user-agent", "containerd/2.1.0")
        .header("accept", "application/vnd.oci.image.manifest.v1+json")
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::new())
        .unwrap()
}

/// A connection, once the server is up.
async fn connect(address: SocketAddr) -> TcpStream {
    for _ in 0..500 {
        if let Ok(tcp) = TcpStream::connect(address).await {
            tcp.set_nodelay(true).unwrap();
            return tcp;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no server listens at {address}");
}
