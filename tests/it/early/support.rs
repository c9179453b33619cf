//! A server, and clients that send a whole request before they look for the answer.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use portcullis::auth::{Authentication, Credential, Credentials, Secret};
use portcullis::connection::{AddConnection, Connection};
use portcullis::{Body, Guard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

pub(super) const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

/// A token for `ci`.
pub(super) fn authentication() -> Authentication {
    let ci = Credential::new("ci").with_secret(Secret::of_token(TOKEN.as_bytes()));
    Authentication::token(Credentials::new([ci]).unwrap().into())
}

/// A guard that lets in who has the token.
pub(super) fn guard() -> Guard {
    let authentication = authentication().with_throttle(None);
    Guard::builder().authentication(authentication).build()
}

/// A service that answers with the length of what it was sent.
pub(super) async fn measure(
    request: Request<Body<Incoming>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let length = match request.into_body().collect().await {
        Ok(body) => body.to_bytes().len().to_string(),
        Err(error) => error.to_string(),
    };
    Ok(Response::new(Full::new(length.into())))
}

/// Serves `service` as anyone would write it, and returns where.
pub(super) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, peer) = listener.accept().await.unwrap();
            let connection = Connection::builder(peer).build();
            let service = TowerToHyperService::new(AddConnection::new(service.clone(), connection));
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(tcp), service).await;
            });
        }
    });
    address
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) closes: bool,
    pub(super) body: Vec<u8>,
}

/// A connection of HTTP/1.1.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn new(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Sends all of an upload and then looks for the answer, as Python's `requests` does, which goes on to the answer
    /// if the sending fails. `None` if the connection ends without one.
    pub(super) async fn put(&mut self, token: Option<&str>, body: &[u8]) -> Option<Answer> {
        let head = head(token, &format!("Content-Length: {}", body.len()));
        let _ = self.0.write_all(head.as_bytes()).await;
        let _ = self.0.write_all(body).await;
        self.answer().await
    }

    /// Sends while it looks for the answer, and stops once there is one, as Go's and curl's clients do.
    pub(super) async fn push(&mut self, token: Option<&str>, body: &[u8]) -> Option<Answer> {
        let head = head(token, &format!("Content-Length: {}", body.len()));
        let (read, mut write) = self.0.split();
        let send = async {
            write.write_all(head.as_bytes()).await?;
            write.write_all(body).await
        };
        let answer = read_answer(read);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // What could not be sent may have been answered all the same.
            _ = send => answer.await,
        }
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        read_answer(&mut self.0).await
    }
}

pub(super) fn head(token: Option<&str>, framing: &str) -> String {
    let token = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    format!(
        "PUT /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: registry.example\r\n{token}{framing}\r\n\r\n"
    )
}

pub(super) async fn read_answer(mut read: impl tokio::io::AsyncRead + Unpin) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(read.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    };
    let mut body = vec![0; field("content-length").unwrap().parse().unwrap()];
    read.read_exact(&mut body).await.ok()?;
    Some(Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        closes: field("connection") == Some("close"),
        body,
    })
}
