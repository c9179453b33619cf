use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection on which an answer is read even where the other side takes no more of the request: a registry may
/// refuse an upload while it comes, and close. What cannot be written is dropped; the end of the answer, or of the
/// connection, ends the request.
#[derive(Debug)]
pub(super) struct LateAnswer<S> {
    inner: S,
    refused: bool,
}

impl<S> LateAnswer<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            refused: false,
        }
    }

    /// What was written, or `otherwise` of it once the other side takes nothing.
    fn written<T>(&mut self, polled: Poll<io::Result<T>>, otherwise: T) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};

        match polled {
            Poll::Ready(Err(error)) if [BrokenPipe, ConnectionReset].contains(&error.kind()) => {
                self.refused = true;
                Poll::Ready(Ok(otherwise))
            }
            polled => polled,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LateAnswer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LateAnswer<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.refused {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(polled, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = slices.iter().map(|slice| slice.len()).sum();
        if self.refused {
            return Poll::Ready(Ok(all));
        }
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.written(polled, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.written(polled, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: Connection> Connection for LateAnswer<S> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}
