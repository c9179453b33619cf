//! gRPC over HTTP/2 on a Unix socket, as far as unary calls and answers in a stream go.
//!
//! `containerd-client` is not used: it compiles containerd's protocol files at each build, for which the machine needs
//! `protoc`.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;

/// The longest message, in bytes: what containerd sends at most.
const LONGEST: usize = 16 * 1024 * 1024;

/// What containerd may send before it is read, in bytes.
const WINDOW: u32 = 256 * 1024;

/// containerd's socket and one of its namespaces.
pub(crate) struct Containerd {
    socket: PathBuf,
    namespace: String,
}

/// The messages of an answer. Its head is waited for with the first of them: containerd sends none before.
pub(crate) struct Answers<T> {
    state: State,
    unread: BytesMut,
    // Kept, since hyper may end a connection that takes no more requests.
    _sender: SendRequest<Full<Bytes>>,
    of: PhantomData<fn() -> T>,
}

enum State {
    Sent(Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>),
    Begun(Incoming),
    Ended,
}

impl Containerd {
    pub(crate) fn new(socket: &Path, namespace: &str) -> Self {
        Self {
            socket: socket.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Calls a method, `/package.Service/Method`, on a connection of its own: on a shared one, clients that take
    /// nothing of their answers would use up the flow control of all (RFC 9113 §5.2).
    pub(crate) async fn call<T>(
        &self,
        method: &str,
        message: &impl Message,
    ) -> io::Result<Answers<T>> {
        let mut frame = BytesMut::new();
        // Not compressed, and how long it is.
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).map_err(io::Error::other)?);
        message.encode(&mut frame).map_err(io::Error::other)?;
        let request = Request::post(format!("http://containerd{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("containerd-namespace", &self.namespace)
            .body(Full::new(frame.freeze()))
            .map_err(io::Error::other)?;
        let mut sender = self.connect().await?;
        Ok(Answers {
            state: State::Sent(Box::pin(sender.send_request(request))),
            unread: BytesMut::new(),
            _sender: sender,
            of: PhantomData,
        })
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            let socket = self.socket.display();
            io::Error::new(error.kind(), format!("containerd at {socket}: {error}"))
        })?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let shaken = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to containerd has ended");
            }
        });
        Ok(sender)
    }
}

impl<T: Message + Default> Answers<T> {
    /// Waits for the head of the answer; `None` if it is its end, too.
    pub(crate) async fn begun(&mut self) -> io::Result<Option<&mut Incoming>> {
        if let State::Sent(response) = &mut self.state {
            let (head, body) = response.await.map_err(io::Error::other)?.into_parts();
            if !head.status.is_success() {
                let status = head.status;
                return Err(io::Error::other(format!("containerd answers {status}")));
            }
            // An answer without messages has its trailers in the head.
            let ended = head.headers.contains_key("grpc-status");
            if ended {
                status(&head.headers)?;
            }
            self.state = if ended {
                State::Ended
            } else {
                State::Begun(body)
            };
        }
        match &mut self.state {
            State::Begun(body) => Ok(Some(body)),
            State::Sent(_) | State::Ended => Ok(None),
        }
    }

    /// The next message; `None` at the end of a good answer.
    pub(crate) async fn next(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(message) = self.read()? {
                return Ok(Some(message));
            }
            let Some(body) = self.begun().await? else {
                return Ok(None);
            };
            let frame = body.frame().await.ok_or_else(cut)?;
            match frame.map_err(io::Error::other)?.into_data() {
                Ok(data) => self.unread.extend_from_slice(&data),
                Err(frame) => {
                    status(frame.trailers_ref().unwrap_or(&HeaderMap::new()))?;
                    self.state = State::Ended;
                    if !self.unread.is_empty() {
                        return Err(cut());
                    }
                }
            }
        }
    }

    /// A message that has come whole.
    fn read(&mut self) -> io::Result<Option<T>> {
        let Some((head, rest)) = self.unread.split_at_checked(5) else {
            return Ok(None);
        };
        let mut length = &head[1..];
        let length = length.get_u32() as usize;
        if head[0] != 0 || length > LONGEST {
            return Err(io::Error::other(
                "containerd's message is compressed or too long",
            ));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.unread.advance(5);
        let message = T::decode(self.unread.split_to(length).freeze());
        message.map(Some).map_err(io::Error::other)
    }
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "containerd's answer has no end",
    )
}

fn status(trailers: &HeaderMap) -> io::Result<()> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        Some("5") => Err(io::ErrorKind::NotFound.into()),
        code => {
            let code = code.unwrap_or("none");
            let message = text("grpc-message").unwrap_or_default();
            Err(io::Error::other(format!(
                "containerd: {message} (gRPC status {code})"
            )))
        }
    }
}
