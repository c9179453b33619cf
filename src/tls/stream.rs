use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::termination::Termination;
use crate::Connection;
use crate::connection::places::Place;
use crate::connection::{StagedClose, Stall};

/// The last answer has this long to be written where no request is in flight.
const SETTLE: Duration = Duration::from_millis(10);

/// When a connection whose certificate is no longer good is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// After this long without a byte written, where a request may be in flight.
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
    /// An accepted TLS connection. It reads as ended once the client's certificate is no longer good and the
    /// connection is idle, whatever server uses it. Its shutdown is staged (RFC 9112 §9.6): it ends what is
    /// written, and discards for a short time what the client still sends, so that the last answer arrives.
    pub struct Stream<IO> {
        #[pin]
        inner: TlsStream<IO>,
        connection: Connection,
        phase: Phase,
        ending: Ending,
        stall: Option<Stall>,
        close: StagedClose,
        // Whether the client has sent anything but its handshake.
        heard: bool,
        // Given back when the connection ends. `None` where the server has one.
        place: Option<Place>,
    }
}

enum Phase {
    /// Nothing can end it from this side.
    Plain,
    Good(Termination),
    Draining {
        idle: Pin<Box<Sleep>>,
        until: Instant,
        /// Whether no request was in flight when `idle` was set.
        quiet: bool,
    },
    Ended,
}

impl<IO> Stream<IO> {
    pub(super) fn new(
        inner: TlsStream<IO>,
        connection: Connection,
        termination: Option<Termination>,
        ending: Ending,
        stall: Option<Stall>,
    ) -> Self {
        Self {
            inner,
            connection,
            phase: termination.map_or(Phase::Plain, Phase::Good),
            ending,
            stall,
            close: StagedClose::default(),
            heard: false,
            place: None,
        }
    }

    /// Holds this place until the connection ends.
    pub(super) fn hold(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Returns the connection's facts.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns the protocol that was agreed on (RFC 7301); `None` without one.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.inner.get_ref().1.alpn_protocol()
    }

    /// Returns the stream below and rustls's view of the session.
    pub fn get_ref(&self) -> (&IO, &rustls::ServerConnection) {
        self.inner.get_ref()
    }
}

/// Whether certainly no request is in flight: nothing but a handshake was read, or all requests that the
/// revocation layer saw are over.
fn is_quiet(connection: &Connection, heard: bool) -> bool {
    #[cfg(feature = "crl")]
    if connection.requests_are_over() {
        return true;
    }
    let _ = connection;
    !heard
}

impl Ending {
    fn wait(self, quiet: bool) -> Duration {
        if quiet {
            self.idle.min(SETTLE)
        } else {
            self.idle
        }
    }
}

impl Phase {
    /// Whether the connection is to be taken as ended.
    fn poll_ended(
        &mut self,
        ending: Ending,
        quiet: impl Fn() -> bool,
        context: &mut Context<'_>,
    ) -> bool {
        loop {
            match self {
                Self::Plain => return false,
                Self::Ended => return true,
                Self::Good(termination) => {
                    if termination.poll(context).is_pending() {
                        return false;
                    }
                    tracing::debug!(
                        "the client's certificate is no longer good, closing when idle"
                    );
                    let quiet = quiet();
                    *self = Self::Draining {
                        idle: Box::pin(sleep(ending.wait(quiet).min(ending.drain))),
                        until: Instant::now() + ending.drain,
                        quiet,
                    };
                }
                Self::Draining {
                    idle,
                    until,
                    quiet: known,
                } => {
                    // The last request may have ended without a byte written: the client reset it.
                    if !*known && quiet() {
                        *known = true;
                        let next = (Instant::now() + ending.wait(true)).min(*until);
                        let next = next.min(idle.deadline());
                        idle.as_mut().reset(next);
                    }
                    if idle.as_mut().poll(context).is_pending() {
                        return false;
                    }
                    *self = Self::Ended;
                }
            }
        }
    }

    fn wrote(&mut self, ending: Ending, quiet: impl Fn() -> bool) {
        if let Self::Draining {
            idle,
            until,
            quiet: known,
        } = self
        {
            *known = quiet();
            let next = (Instant::now() + ending.wait(*known)).min(*until);
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
        let quiet = || is_quiet(this.connection, *this.heard);
        if this.phase.poll_ended(*this.ending, quiet, context) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = this.inner.poll_read(context, buffer);
        *this.heard |= buffer.filled().len() > before;
        read
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let quiet = || is_quiet(this.connection, *this.heard);
        if this.phase.poll_ended(*this.ending, quiet, context) {
            return Poll::Ready(Err(ended()));
        }
        let written = this.inner.poll_write(context, bytes);
        let written = ready!(checked(this.stall, this.connection, context, written))?;
        this.phase.wrote(*this.ending, quiet);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let quiet = || is_quiet(this.connection, *this.heard);
        if this.phase.poll_ended(*this.ending, quiet, context) {
            return Poll::Ready(Err(ended()));
        }
        let written = this.inner.poll_write_vectored(context, slices);
        let written = ready!(checked(this.stall, this.connection, context, written))?;
        this.phase.wrote(*this.ending, quiet);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.inner.poll_flush(context);
        checked(this.stall, this.connection, context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if !this.close.is_begun() {
            let shut = this.inner.as_mut().poll_shutdown(context);
            ready!(checked(this.stall, this.connection, context, shut))?;
        }
        this.close
            .poll_discard(context, this.inner.get_mut().get_mut().0)
    }
}

fn checked<T>(
    stall: &mut Option<Stall>,
    connection: &Connection,
    context: &mut Context<'_>,
    written: Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    let Some(stall) = stall else {
        return written;
    };
    let waits = written.is_pending();
    let checked = stall.check(context, written);
    if waits && checked.is_ready() {
        connection.timed_out();
    }
    checked
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
