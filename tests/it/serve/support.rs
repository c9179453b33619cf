//! Servers whose deadlines are short, and clients that misbehave.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::serve::{Incoming, Server, Unfinished};
use portcullis::tls::{Acceptor, Material};
use portcullis::{Body, Connection, Guard, Watched};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tower::Service;

use crate::pki::{self, Ca, Files};

/// Far more than anything takes that ends at all.
pub(super) const GENEROUS: Duration = Duration::from_secs(60);

/// Far less than any default deadline, and more than what is done meanwhile takes.
pub(super) const SHORT: Duration = Duration::from_millis(200);

pub(super) struct Running {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Unfinished>>,
}

impl Running {
    /// Stops the server, and waits for its end.
    pub(super) async fn stop(mut self) -> Result<(), Unfinished> {
        self.begin_stop();
        within(&mut self.task).await.unwrap()
    }

    pub(super) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves on a port of its own.
pub(super) async fn start<S, R>(server: Server, service: S) -> Running
where
    S: Service<Request<Body<Incoming>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = server.with_graceful_shutdown(async { drop(stopped.await) });
    Running {
        address,
        stop: Some(stop),
        task: tokio::spawn(server.serve(listener, service)),
    }
}

/// A server behind a guard that enforces nothing.
pub(super) fn open() -> Server {
    Server::new(Guard::builder().build())
}

pub(super) async fn within<F: Future>(what: F) -> F::Output {
    timeout(GENEROUS, what).await.expect("it never ended")
}

/// Answers with the address of the client.
pub(super) async fn whoami(
    request: Request<Body<Incoming>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let connection = Connection::of(request.extensions()).expect("no connection");
    let who = connection.client_addr().ip().to_string();
    Ok(Response::new(Full::new(who.into())))
}

/// A server's certificate, and a client that trusts it.
pub(super) struct Tls {
    _files: Files,
    pub(super) acceptor: Acceptor,
    pub(super) client: rustls::ClientConfig,
}

impl Tls {
    pub(super) fn new() -> Self {
        let ca = Ca::new("servers");
        let files = Files::new();
        let server = files.server(&ca.server(&["localhost"]));
        let material: Material = server.without_client_certificates().load().unwrap();
        Self {
            _files: files,
            acceptor: Acceptor::new(Watched::fixed(material)),
            client: pki::client(&ca, None),
        }
    }

    /// A server behind a guard that enforces nothing.
    pub(super) fn open(&self) -> Server {
        let acceptor = self.acceptor.clone();
        Server::new(Guard::builder().acceptor(acceptor).build())
    }

    /// The client's side of a handshake on this connection.
    pub(super) async fn on(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(self.client.clone()));
        within(connector.connect("localhost".try_into().unwrap(), tcp)).await
    }

    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        protocol: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut config = self.client.clone();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        pki::connect(&Arc::new(config), address, "localhost").await
    }
}

pub(super) async fn connect(address: SocketAddr) -> TcpStream {
    within(TcpStream::connect(address)).await.unwrap()
}

/// A connection from another address of this machine.
pub(super) async fn connect_from(from: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    within(socket.connect(address)).await.unwrap()
}

/// A client of HTTP/2 on this stream. Its connection's end can be waited for.
pub(super) async fn http2<IO, B>(io: IO) -> (SendRequest<B>, JoinHandle<hyper::Result<()>>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: http_body::Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
    let (sender, connection) = within(handshake).await.unwrap();
    (sender, tokio::spawn(connection))
}

pub(super) fn get() -> Request<Empty<Bytes>> {
    let request = Request::get("http://localhost/").body(Empty::new());
    request.unwrap()
}

pub(super) const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Sends a request and returns the answer to it, whose length must be told.
pub(super) async fn ask<IO>(io: &mut IO, request: &[u8]) -> String
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    within(io.write_all(request)).await.unwrap();
    answer(io).await.unwrap()
}

/// The next answer.
pub(super) async fn answer<IO: AsyncRead + Unpin>(io: &mut IO) -> io::Result<String> {
    within(async {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(io.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&text).to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap_or("0");
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        io.read_exact(&mut body).await?;
        text.extend(body);
        Ok(String::from_utf8_lossy(&text).into_owned())
    })
    .await
}

/// Waits until the server has ended the connection, and returns what it sent before.
pub(super) async fn ended<IO: AsyncRead + Unpin>(io: &mut IO) -> String {
    let mut text = Vec::new();
    // However it ends: with or without a goodbye.
    let _ = within(io.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether the server has not ended the connection yet.
pub(super) fn is_open(tcp: &TcpStream) -> bool {
    let ended = tcp.try_read(&mut [0; 1]);
    ended.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

pub(super) async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let waits = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(GENEROUS, waits).await.is_ok(), "never: {what}");
}
