use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use portcullis::Watched;
use rustls::HandshakeKind;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Tls;

/// How often a certificate is verified again although no file has changed: it, or a CRL, may have ended.
const PAUSE: Duration = Duration::from_secs(60);

/// A TLS connection that ends once the other side's certificate is no longer good, in the middle of a transfer
/// too.
#[derive(Debug)]
pub(super) struct LiveTls {
    tls: TlsStream<TcpStream>,
    end: oneshot::Receiver<rustls::Error>,
    ended: bool,
}

impl LiveTls {
    /// Shakes hands over `tcp` with a server that has this name.
    pub(super) async fn connect(
        tcp: TcpStream,
        name: ServerName<'static>,
        files: &Watched<Tls>,
    ) -> io::Result<Self> {
        // Before the files are looked at, so that no change after it is missed.
        let changes = files.changes();
        let current = files.load();
        let connector = TlsConnector::from(Arc::clone(&current.config));
        drop(current);
        let tls = connector.connect(name.clone(), tcp).await?;
        let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let peer = Peer {
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
            name,
        };
        if tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            // It was verified when the session began, and a CRL may have ended since.
            peer.verify(files).map_err(ended)?;
        }
        let (refused, end) = oneshot::channel();
        tokio::spawn(peer.watch(files.clone(), changes, refused));
        Ok(Self {
            tls,
            end,
            ended: false,
        })
    }

    pub(super) fn is_http2(&self) -> bool {
        self.tls.get_ref().1.alpn_protocol() == Some(b"h2")
    }

    /// Fails once the certificate is refused, else has the task woken when it is.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ended {
            return Err(ended("the server's certificate is no longer good"));
        }
        match Pin::new(&mut self.end).poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(refused) => {
                self.ended = true;
                Err(match refused {
                    Ok(error) => ended(error),
                    Err(_) => ended("the server's certificate is watched no more"),
                })
            }
        }
    }
}

/// What is known of the other side.
struct Peer {
    chain: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
}

impl Peer {
    async fn watch(
        self,
        files: Watched<Tls>,
        mut changes: tokio::sync::watch::Receiver<u64>,
        mut refused: oneshot::Sender<rustls::Error>,
    ) {
        loop {
            tokio::select! {
                () = refused.closed() => return,
                newer = changes.changed() => {
                    if newer.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(PAUSE) => {}
            }
            if let Err(error) = self.verify(&files) {
                tracing::warn!(%error, "a connection ends: the server's certificate is no longer good");
                // The connection may have ended meanwhile.
                let _ = refused.send(error);
                return;
            }
        }
    }

    fn verify(&self, files: &Watched<Tls>) -> Result<(), rustls::Error> {
        let tls = files.load();
        let (Some(verifier), [end_entity, intermediates @ ..]) = (&tls.verifier, &*self.chain)
        else {
            return Ok(());
        };
        let now = UnixTime::now();
        verifier.verify_server_cert(end_entity, intermediates, &self.name, &[], now)?;
        Ok(())
    }
}

fn ended(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, reason)
}

impl AsyncRead for LiveTls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.tls).poll_read(cx, buffer)
    }
}

impl AsyncWrite for LiveTls {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.tls).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.tls).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.tls).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tls).poll_shutdown(cx)
    }
}
