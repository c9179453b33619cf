use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::entry::{Entry, Outcome, Received};

pin_project! {
    /// A request's body whose bytes are counted as they pass.
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        inner: B,
        received: Option<Received>,
    }
}

pin_project! {
    /// A response's body whose bytes are counted as they pass; its end or drop writes the event.
    #[derive(Debug)]
    pub struct ResponseBody<B: Body> {
        #[pin]
        inner: B,
        entry: Option<Box<Entry>>,
    }

    impl<B: Body> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // hyper leaves a body whose length it knows once the last byte is out, unpolled.
            // Otherwise the entry stays until the inner body is dropped: that may say why.
            if this.inner.is_end_stream()
                && let Some(mut entry) = this.entry.take()
            {
                entry.ended(Outcome::Finished);
            }
        }
    }
}

impl<B> RequestBody<B> {
    pub(super) fn new(inner: B, received: Option<Received>) -> Self {
        Self { inner, received }
    }
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn new(inner: B, entry: Option<Box<Entry>>) -> Self {
        Self { inner, entry }
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let Some(received) = this.received
            && let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            received.count(data.remaining());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if let Some(entry) = this.entry {
            entry.polling(true);
        }
        let polled = this.inner.poll_frame(cx);
        if let Some(entry) = this.entry {
            entry.polling(false);
        }
        let frame = ready!(polled);
        if let Some(entry) = this.entry {
            let outcome = match &frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        entry.sent(data.remaining());
                    }
                    None
                }
                Some(Err(_)) => Some(Outcome::BodyError),
                None => Some(Outcome::Finished),
            };
            if let Some(outcome) = outcome {
                entry.ended(outcome);
                *this.entry = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for RequestBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B: Body + Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}
