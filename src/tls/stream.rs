use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::limits::Slot;
use super::watch::Gone;
use crate::Connection;
use crate::connection::Stall;

/// When a connection whose certificate is no longer good is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// After this long without a byte written.
    pub(super) idle: Duration,
    /// After this long in any case.
    pub(super) drain: Duration,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(1),
            drain: Duration::from_secs(30),
        }
    }
}

pin_project! {
    /// An accepted TLS connection. It reads as ended once the client's certificate is no longer
    /// good and the connection is idle, whoever serves it.
    pub struct Stream<IO> {
        #[pin]
        inner: TlsStream<IO>,
        connection: Connection,
        phase: Phase,
        ending: Ending,
        stall: Option<Stall>,
        // Given back when the connection ends.
        _slot: Option<Slot>,
    }
}

enum Phase {
    /// Nothing can end it from this side.
    Plain,
    Good(Gone),
    Draining {
        idle: Pin<Box<Sleep>>,
        until: Instant,
    },
    Ended,
}

impl<IO> Stream<IO> {
    pub(super) fn new(
        inner: TlsStream<IO>,
        connection: Connection,
        slot: Option<Slot>,
        gone: Option<Gone>,
        ending: Ending,
        stall: Option<Stall>,
    ) -> Self {
        Self {
            inner,
            connection,
            phase: gone.map_or(Phase::Plain, Phase::Good),
            ending,
            stall,
            _slot: slot,
        }
    }

    /// What is known of the connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The protocol that was agreed on (RFC 7301).
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.inner.get_ref().1.alpn_protocol()
    }

    /// The stream below and rustls's view of the session.
    pub fn get_ref(&self) -> (&IO, &rustls::ServerConnection) {
        self.inner.get_ref()
    }
}

impl Phase {
    /// Whether the connection is to be taken as ended.
    fn poll_ended(&mut self, ending: Ending, context: &mut Context<'_>) -> bool {
        loop {
            match self {
                Self::Plain => return false,
                Self::Ended => return true,
                Self::Good(gone) => {
                    if gone.as_mut().poll(context).is_pending() {
                        return false;
                    }
                    tracing::debug!(
                        "the client's certificate is no longer good, closing when idle"
                    );
                    *self = Self::Draining {
                        idle: Box::pin(sleep(ending.idle.min(ending.drain))),
                        until: Instant::now() + ending.drain,
                    };
                }
                Self::Draining { idle, .. } => {
                    if idle.as_mut().poll(context).is_pending() {
                        return false;
                    }
                    *self = Self::Ended;
                }
            }
        }
    }

    fn wrote(&mut self, ending: Ending) {
        if let Self::Draining { idle, until } = self {
            let next = (Instant::now() + ending.idle).min(*until);
            idle.as_mut().reset(next);
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.phase.poll_ended(*this.ending, context) {
            return Poll::Ready(Ok(()));
        }
        this.inner.poll_read(context, buffer)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        if this.phase.poll_ended(*this.ending, context) {
            return Poll::Ready(Err(ended()));
        }
        let written = this.inner.poll_write(context, bytes);
        let written = ready!(checked(this.stall, context, written))?;
        this.phase.wrote(*this.ending);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        if this.phase.poll_ended(*this.ending, context) {
            return Poll::Ready(Err(ended()));
        }
        let written = this.inner.poll_write_vectored(context, slices);
        let written = ready!(checked(this.stall, context, written))?;
        this.phase.wrote(*this.ending);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.inner.poll_flush(context);
        checked(this.stall, context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let shut = this.inner.poll_shutdown(context);
        checked(this.stall, context, shut)
    }
}

fn checked<T>(
    stall: &mut Option<Stall>,
    context: &mut Context<'_>,
    written: Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    match stall {
        Some(stall) => stall.check(context, written),
        None => written,
    }
}

fn ended() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the client's certificate is no longer good",
    )
}

impl<IO> std::fmt::Debug for Stream<IO> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
