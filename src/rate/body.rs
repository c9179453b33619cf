use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;

use super::pacer::Pacer;
use super::watcher::Stay;
use crate::audit::Cut;

pin_project! {
    /// A body whose data frames pass at the rate of its limits.
    ///
    /// Frames are split by reference where a limit lets only a part pass; at most one is held.
    /// Trailers and empty frames pass at once; `size_hint` stays exact.
    #[derive(Debug)]
    pub struct Body<B> {
        #[pin]
        inner: B,
        held: Bytes,
        // Boxed, so that moving the response through the layers above moves no more of it.
        pacer: Option<Box<Pacer>>,
        stay: Stay,
    }
}

/// Why a limited body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError<E> {
    /// The body itself did.
    Inner(E),
    /// A limit ended the transfer.
    Cut(Cut),
}

impl<B> Body<B> {
    pub(super) fn new(inner: B, pacer: Option<Pacer>) -> Self {
        Self {
            inner,
            held: Bytes::new(),
            pacer: pacer.map(Box::new),
            stay: Stay::default(),
        }
    }

    /// Keeps this until it is dropped or its reader is too slow.
    pub(super) fn with_stay(mut self, stay: Stay) -> Self {
        self.stay = stay;
        self
    }

    /// A body without limits.
    pub(super) fn free(inner: B) -> Self {
        Self::new(inner, None)
    }
}

impl<B> http_body::Body for Body<B>
where
    B: http_body::Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        if this.pacer.is_none() && this.held.is_empty() && !this.stay.is_watched() {
            return this.inner.poll_frame(cx).map_err(BodyError::Inner);
        }
        if let Err(cut) = this.stay.polled() {
            *this.pacer = None;
            return Poll::Ready(Some(Err(BodyError::Cut(cut))));
        }
        if this.held.is_empty() {
            let frame = ready!(this.inner.as_mut().poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) if !data.is_empty() => *this.held = data,
                Some(Ok(Ok(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => {
                    *this.pacer = None;
                    return Poll::Ready(Some(Err(BodyError::Inner(error))));
                }
                None => {
                    *this.pacer = None;
                    this.stay.finished();
                    return Poll::Ready(None);
                }
            }
        }
        if let Err(cut) = this.stay.judge() {
            *this.pacer = None;
            return Poll::Ready(Some(Err(BodyError::Cut(cut))));
        }
        let held = this.held.len() as u64;
        let mut allowed = held;
        if let Some(pacer) = this.pacer {
            let rest = this.inner.size_hint().upper();
            let rest = rest.map_or(u64::MAX, |rest| rest.saturating_add(held));
            allowed = match ready!(pacer.poll_send(cx, held, rest)) {
                Ok(allowed) => allowed,
                Err(cut) => return Poll::Ready(Some(Err(BodyError::Cut(cut)))),
            };
        }
        this.stay.sent(allowed);
        // No more than was wanted, so it is a length.
        let allowed = usize::try_from(allowed).unwrap_or(this.held.len());
        let data = this.held.split_to(allowed.min(this.held.len()));
        if this.held.is_empty() && this.inner.is_end_stream() {
            // The last byte: what was reserved beyond it is for others.
            *this.pacer = None;
            this.stay.finished();
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let held = self.held.len() as u64;
        if held > 0 {
            let upper = hint.upper().map(|upper| upper.saturating_add(held));
            hint.set_lower(0);
            if let Some(upper) = upper {
                hint.set_upper(upper);
            }
            hint.set_lower(self.inner.size_hint().lower().saturating_add(held));
        }
        hint
    }
}

impl<B: Default> Default for Body<B> {
    fn default() -> Self {
        Self::free(B::default())
    }
}

impl<E: fmt::Display> fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Cut(cut) => cut.fmt(f),
        }
    }
}

// Without `E: Error`, because the error of many bodies is a `Box<dyn Error>`, which is none.
impl<E: fmt::Debug + fmt::Display> std::error::Error for BodyError<E> {}
