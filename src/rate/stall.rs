use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Stall;

/// A connection that fails when its peer has taken nothing for some time.
///
/// A body is not asked for more while its client reads nothing; only the connection sees that responses which
/// are written already are not taken. Wrap the socket that is given to hyper, in the clear as well; a TLS
/// acceptor has this timeout built in (`Acceptor::with_stall_timeout`, `[tls] stall_timeout`). A stream of
/// HTTP/2 may stall while its connection goes on: [`AbortSlow`](super::AbortSlow) is for such streams.
///
/// Time counts only while there is something to write: an idle connection, or one whose bodies a limit holds
/// back, is never ended.
///
/// ```
/// use std::time::Duration;
///
/// use portcullis::rate::StallTimeout;
/// use tokio::io::AsyncWriteExt;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let (_client, server) = tokio::io::duplex(1024);
/// let mut server = StallTimeout::new(server, Duration::from_secs(30));
/// // The client reads nothing.
/// let error = server.write_all(&[0; 4096]).await.unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
/// # }
/// ```
#[derive(Debug)]
pub struct StallTimeout<I> {
    inner: I,
    stall: Stall,
}

impl<I> StallTimeout<I> {
    /// Ends `inner` when nothing could be written to it for `longest`.
    pub fn new(inner: I, longest: Duration) -> Self {
        Self {
            inner,
            stall: Stall::new(longest),
        }
    }

    /// Returns a reference to the connection.
    pub fn get_ref(&self) -> &I {
        &self.inner
    }

    /// Returns the connection.
    pub fn into_inner(self) -> I {
        self.inner
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for StallTimeout<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.stall.check(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.stall.check(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.stall.check(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.stall.check(cx, shut)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for StallTimeout<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}
