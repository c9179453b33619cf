use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use super::Tracked;
use crate::audit::{Cut, Record};
use crate::connection::UnderWay;

pin_project! {
    /// A body that ends with an error once its peer's certificate is no longer good, even while it
    /// waits for its next frame.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        inner: B,
        watcher: Option<Watcher>,
    }
}

/// Why a watched body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError<E> {
    /// The body itself did.
    Inner(E),
    /// The peer's certificate is no longer good.
    Revoked,
}

/// What a body asks before each frame.
pub(super) struct Watcher {
    tracked: Tracked,
    record: Option<Record>,
    ended: bool,
    /// Until then the acceptor takes the connection for busy.
    under_way: Option<UnderWay>,
    /// Made when a frame is first waited for: most bodies never wait.
    gone: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl<B> Body<B> {
    pub(super) fn new(inner: B, watcher: Option<Watcher>) -> Self {
        Self { inner, watcher }
    }
}

/// A body that is let go before its end: the connection under it may have been closed because of
/// the revocation, before the body was asked for its next frame.
impl Drop for Watcher {
    fn drop(&mut self) {
        if !self.ended && self.is_gone() {
            self.cut();
        }
    }
}

impl Watcher {
    pub(super) fn new(tracked: Tracked, record: Option<Record>) -> Self {
        Self {
            tracked,
            record,
            ended: false,
            under_way: None,
            gone: None,
        }
    }

    /// Keeps the request under way for as long as it watches.
    pub(super) fn holding(mut self, request: UnderWay) -> Self {
        self.under_way = Some(request);
        self
    }

    /// The body came to its end, whatever becomes of the certificate now.
    fn end(mut self) {
        self.ended = true;
    }

    fn is_gone(&self) -> bool {
        !self.tracked.is_good() && self.tracked.verdict().refusal().is_some()
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let tracked = &self.tracked;
        let gone = self.gone.get_or_insert_with(|| {
            let tracked = tracked.clone();
            Box::pin(async move {
                tracked.revoked().await;
            })
        });
        gone.as_mut().poll(cx)
    }

    fn cut(&self) {
        if let Some(record) = &self.record {
            record.cut(Cut::Revoked);
            record.explained(self.tracked.verdict().to_string());
        }
    }
}

impl Clone for Watcher {
    fn clone(&self) -> Self {
        Self::new(self.tracked.clone(), self.record.clone())
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl<B: http_body::Body> http_body::Body for Body<B> {
    type Data = B::Data;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        let this = self.project();
        let Some(watcher) = this.watcher else {
            return this.inner.poll_frame(cx).map_err(BodyError::Inner);
        };
        if watcher.is_gone() {
            watcher.cut();
            return Poll::Ready(Some(Err(BodyError::Revoked)));
        }
        let mut inner = this.inner;
        let polled = inner.as_mut().poll_frame(cx).map_err(BodyError::Inner);
        match &polled {
            Poll::Pending if watcher.poll_gone(cx).is_ready() => {
                watcher.cut();
                return Poll::Ready(Some(Err(BodyError::Revoked)));
            }
            Poll::Pending => {}
            Poll::Ready(Some(Ok(_))) if !inner.is_end_stream() => {}
            Poll::Ready(_) => {
                if let Some(ended) = this.watcher.take() {
                    ended.end();
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for Body<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<E: fmt::Display> fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Revoked => Cut::Revoked.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for BodyError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Inner(error) => error.source(),
            Self::Revoked => None,
        }
    }
}
