use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::late::LateAnswer;
use super::live::LiveTls;
use super::upstream::Place;

/// Makes connections to a registry, each within a deadline, and no more at once than a bound.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    place: Arc<Place>,
    timeout: Duration,
    /// Connections that may yet be open or begun. Not each is asked for by a request that is in flight still: the pool
    /// goes on with one that was begun when another came free.
    free: Arc<Semaphore>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A connection to a registry, which counts until it is dropped.
#[derive(Debug)]
pub(super) struct Stream {
    transport: Transport,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<LiveTls>),
}

impl Connector {
    pub(super) fn new(place: Arc<Place>, timeout: Duration, most: usize) -> Self {
        let free = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self {
            place,
            timeout,
            free,
        }
    }

    /// Whether no more connections can be made until one ends.
    pub(super) fn is_exhausted(&self) -> bool {
        self.free.available_permits() == 0
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<LateAnswer<Stream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Self {
            place,
            timeout,
            free,
        } = self.clone();
        Box::pin(async move {
            let connected = async {
                // The semaphore is never closed.
                let counted = free.acquire_owned().await.map_err(io::Error::other)?;
                let transport = connect(&place, &target).await?;
                Ok::<_, io::Error>(Stream {
                    transport,
                    _place: counted,
                })
            };
            match tokio::time::timeout(timeout, connected).await {
                Ok(connected) => Ok(TokioIo::new(LateAnswer::new(connected?))),
                Err(_) => Err(ConnectError::Timeout(timeout)),
            }
        })
    }
}

async fn connect(place: &Place, target: &Uri) -> io::Result<Transport> {
    match place {
        Place::Http { host, port } => Ok(Transport::Tcp(tcp((&**host, *port)).await?)),
        Place::Unix(path) => unix(path).await,
        Place::Https {
            host,
            port,
            name,
            tls,
        } => {
            let tcp = tcp((&**host, *port)).await?;
            let tls = LiveTls::connect(tcp, name.clone(), tls).await?;
            Ok(Transport::Tls(Box::new(tls)))
        }
        Place::Gates { targets, name, tls } => {
            let unnamed = || io::Error::from(io::ErrorKind::InvalidInput);
            let authority = target.authority().ok_or_else(unnamed)?;
            let host = authority.host().trim_matches(['[', ']']).to_owned();
            let name = match name {
                Some(name) => name.clone(),
                None => ServerName::try_from(host).map_err(|_| unnamed())?,
            };
            let tcp = tcp(&*targets.addresses(authority).await?).await?;
            let tls = LiveTls::connect(tcp, name, tls).await?;
            Ok(Transport::Tls(Box::new(tls)))
        }
    }
}

async fn tcp(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn unix(path: &Path) -> io::Result<Transport> {
    Ok(Transport::Unix(UnixStream::connect(path).await?))
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        match &self.transport {
            Transport::Tls(tls) if tls.is_http2() => connected.negotiated_h2(),
            _ => connected,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Transport::Unix(unix) => Pin::new(unix).poll_read(cx, buffer),
            Transport::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Transport::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
            Transport::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Transport::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
            Transport::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Tcp(tcp) => tcp.is_write_vectored(),
            Transport::Unix(unix) => unix.is_write_vectored(),
            Transport::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Transport::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Transport::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Transport::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Transport::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
