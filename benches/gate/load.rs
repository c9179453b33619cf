//! What clients ask, on connections that stay open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::pki::{Pki, TOKEN};

/// How many connections ask at once.
const CONNECTIONS: usize = 8;

pub(crate) struct Load {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

/// In milliseconds, in order.
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    /// What this part of them stays below.
    pub(crate) fn at(&self, part: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[(last as f64 * part).round() as usize]
    }
}

impl Load {
    pub(crate) fn new(address: SocketAddr, pki: &Pki) -> Self {
        let tls = TlsConnector::from(Arc::clone(&pki.client));
        let tls = Some(tls);
        Self { address, tls }
    }

    pub(crate) fn clear(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// So many manifests of 1 KiB.
    pub(crate) async fn requests(&self, count: usize) {
        let mut clients = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut sender = self.connect().await;
            clients.spawn(async move {
                for _ in 0..count.div_ceil(CONNECTIONS) {
                    let length = ask(&mut sender, Method::GET, "/v2/lib/a/manifests/1").await;
                    assert_eq!(length, 1024);
                }
            });
        }
        clients.join_all().await;
    }

    /// A blob of this many bytes.
    pub(crate) async fn blob(&self, bytes: usize) {
        let mut sender = self.connect().await;
        let digest = "0".repeat(64);
        let path = format!("/v2/lib/a/blobs/sha256:{digest}?bytes={bytes}");
        assert_eq!(ask(&mut sender, Method::GET, &path).await, bytes);
    }

    /// Of so many questions after a head, one by one.
    pub(crate) async fn latencies(&self, count: usize) -> Latencies {
        let mut sender = self.connect().await;
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            ask(&mut sender, Method::HEAD, "/v2/lib/a/manifests/1").await;
            all.push(began.elapsed().as_secs_f64() * 1e3);
        }
        all.sort_by(f64::total_cmp);
        Latencies(all)
    }

    async fn connect(&self) -> SendRequest<Empty<Bytes>> {
        let tcp = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        tcp.set_nodelay(true).expect("no delay");
        let Some(tls) = &self.tls else {
            let (sender, connection) = handshake(TokioIo::new(tcp)).await.expect("HTTP");
            tokio::spawn(connection);
            return sender;
        };
        let name = "localhost".try_into().expect("a name");
        let tls = tls.connect(name, tcp).await.expect("a handshake");
        let (sender, connection) = handshake(TokioIo::new(tls)).await.expect("HTTP");
        tokio::spawn(connection);
        sender
    }
}

/// Asks once and returns how long the answer's body was.
async fn ask(sender: &mut SendRequest<Empty<Bytes>>, method: Method, path: &str) -> usize {
    sender.ready().await.expect("an open connection");
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Empty::new())
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200, "{path}");
    let mut body = answer.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame
            .expect("a whole body")
            .data_ref()
            .map_or(0, Bytes::len);
    }
    length
}
