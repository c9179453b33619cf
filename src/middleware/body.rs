use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::{BodyError, End, Parts};

pin_project! {
    /// The body of requests and responses behind the layers of this crate. It counts, paces, observes and cuts
    /// the frames of the body `B`, each only where a layer asks for it; else it is the body `B` alone. The body
    /// of a response may also be that of a refusal.
    ///
    /// Frames are split by reference where a limit lets only a part pass; at most one frame is held. Trailers
    /// and empty frames pass at once; [`size_hint`](http_body::Body::size_hint) stays exact.
    ///
    /// # Errors
    /// Returns [`BodyError::Cut`] once a layer has ended the transfer: a quota is used up, the reader is too
    /// slow, the client's certificate is revoked. [`BodyError::Inner`] is the inner body's own error.
    #[derive(Debug)]
    #[project = BodyProj]
    pub struct Body<B> {
        // Before the parts: its drop may say why it ended, and their drop writes that down.
        #[pin]
        inner: Inner<B>,
        held: Bytes,
        parts: Parts,
    }
}

pin_project! {
    #[project = InnerProj]
    #[derive(Debug)]
    enum Inner<B> {
        Service {
            #[pin]
            body: B,
        },
        Refusal {
            #[pin]
            body: Full<Bytes>,
        },
    }
}

impl<B> Body<B> {
    /// Wraps a body with which nothing is to be done, as in a test of a handler.
    pub fn new(inner: B) -> Self {
        Self::with(inner, Parts::default())
    }

    pub(crate) fn with(inner: B, parts: Parts) -> Self {
        Self::made(Inner::Service { body: inner }, parts)
    }

    pub(super) fn refusal(body: Full<Bytes>) -> Self {
        Self::made(Inner::Refusal { body }, Parts::default())
    }

    fn made(inner: Inner<B>, parts: Parts) -> Self {
        Self {
            inner,
            held: Bytes::new(),
            parts,
        }
    }

    pub(super) fn parts_mut(&mut self) -> &mut Parts {
        &mut self.parts
    }
}

impl<B: http_body::Body<Data = Bytes>> Body<B> {
    /// The exact number of bytes that are to come, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        if self.ended() {
            return Some(0);
        }
        self.inner.size_hint().exact()
    }

    /// Whether nothing is to come.
    pub(super) fn ended(&self) -> bool {
        self.held.is_empty() && self.inner.is_end_stream()
    }
}

impl<B> http_body::Body for Body<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        if this.parts.are_none() && this.held.is_empty() {
            return this.inner.poll_frame(cx).map_err(BodyError::of);
        }
        this.parts.polling(true);
        let polled = this.poll_watched(cx);
        this.parts.polling(false);
        let frame = ready!(polled);
        let last = this.held.is_empty() && this.inner.is_end_stream();
        let complete = last || this.held.is_empty() && this.inner.size_hint().exact() == Some(0);
        this.parts.passed(frame.as_ref(), last, complete);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let held = self.held.len() as u64;
        if held > 0 {
            let (lower, upper) = (hint.lower(), hint.upper());
            hint = SizeHint::new();
            if let Some(upper) = upper {
                hint.set_upper(upper.saturating_add(held));
            }
            hint.set_lower(lower.saturating_add(held));
        }
        hint
    }
}

impl<B> BodyProj<'_, B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Polls for a frame unless the transfer is to be ended, even while the frame is waited for.
    fn poll_watched(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(watch) = &mut self.parts.watch
            && let Err(cut) = watch.check()
        {
            return Poll::Ready(Some(Err(BodyError::Cut(cut))));
        }
        let polled = match self.parts.pace {
            Some(_) => self.poll_paced(cx),
            None => self.inner.as_mut().poll_frame(cx).map_err(BodyError::of),
        };
        let Some(watch) = &mut self.parts.watch else {
            return polled;
        };
        match &polled {
            Poll::Pending => {
                if let Poll::Ready(cut) = watch.poll_cut(cx) {
                    return Poll::Ready(Some(Err(BodyError::Cut(cut))));
                }
            }
            Poll::Ready(Some(Ok(_))) if !(self.held.is_empty() && self.inner.is_end_stream()) => {}
            Poll::Ready(_) => {
                if let Some(watch) = self.parts.watch.take() {
                    watch.ended();
                }
            }
        }
        polled
    }

    /// Polls for what the pace lets pass of a frame, which is held until all of it has passed.
    fn poll_paced(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { inner, held, parts } = self;
        let Some(pace) = &mut parts.pace else {
            return inner.as_mut().poll_frame(cx).map_err(BodyError::of);
        };
        if let Err(cut) = pace.asked() {
            pace.ended(End::Failed);
            return Poll::Ready(Some(Err(BodyError::Cut(cut))));
        }
        if held.is_empty() {
            let frame = ready!(inner.as_mut().poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if !data.is_empty() => **held = data,
                Some(Ok(Ok(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => {
                    pace.ended(End::Failed);
                    return Poll::Ready(Some(Err(BodyError::of(error))));
                }
                None => {
                    pace.ended(End::Finished);
                    return Poll::Ready(None);
                }
            }
        }
        let length = held.len() as u64;
        let rest = inner.size_hint().upper();
        let rest = rest.map_or(u64::MAX, |rest| rest.saturating_add(length));
        let passes = match ready!(pace.poll_pass(cx, length, rest)) {
            Ok(passes) => passes,
            Err(cut) => return Poll::Ready(Some(Err(BodyError::Cut(cut)))),
        };
        // No more than was asked for, so it is a length.
        let passes = usize::try_from(passes).unwrap_or(held.len());
        let data = held.split_to(passes.min(held.len()));
        if held.is_empty() && inner.is_end_stream() {
            pace.ended(End::Finished);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl<B> http_body::Body for Inner<B>
where
    B: http_body::Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            InnerProj::Service { body } => body.poll_frame(cx),
            InnerProj::Refusal { body } => body.poll_frame(cx).map_err(|never| match never {}),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Service { body } => body.is_end_stream(),
            Self::Refusal { body } => body.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Service { body } => body.size_hint(),
            Self::Refusal { body } => body.size_hint(),
        }
    }
}

impl<B: Default> Default for Body<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}
