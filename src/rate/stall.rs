use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A connection that fails when its peer has taken nothing for some time.
///
/// A body is not asked for more while its client reads nothing, so no limit on bodies can see such a
/// client; only the connection can. Put this around the socket that is given to hyper or to a TLS
/// acceptor.
///
/// Time counts only while there is something to write: an idle connection, or one whose bodies a
/// limit holds back, is never ended.
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
    longest: Duration,
    stalled: bool,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<I> StallTimeout<I> {
    /// Ends `inner` when nothing could be written to it for `longest`.
    pub fn new(inner: I, longest: Duration) -> Self {
        Self {
            inner,
            longest,
            stalled: false,
            alarm: None,
        }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &I {
        &self.inner
    }

    /// The connection itself.
    pub fn into_inner(self) -> I {
        self.inner
    }

    fn check<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        let end = Instant::now() + self.longest;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if !self.stalled {
            self.stalled = true;
            alarm.as_mut().reset(end);
        }
        if alarm.as_mut().poll(cx).is_ready() {
            let error = "the peer has taken nothing for too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
        }
        Poll::Pending
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for StallTimeout<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.check(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.check(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.check(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.check(cx, shut)
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
