use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a gated response: the inner service's own, or that of a refusal.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    #[derive(Debug)]
    enum Inner<B> {
        Called {
            #[pin]
            body: B,
        },
        Refused {
            #[pin]
            body: Full<Bytes>,
        },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn called(body: B) -> Self {
        Self {
            inner: Inner::Called { body },
        }
    }

    /// The same with another body of the inner service.
    #[cfg(any(feature = "crl", feature = "rate"))]
    pub(crate) fn map_inner<C>(self, map: impl FnOnce(B) -> C) -> ResponseBody<C> {
        match self.inner {
            Inner::Called { body } => ResponseBody::called(map(body)),
            Inner::Refused { body } => ResponseBody::refused(body),
        }
    }

    pub(crate) fn refused(body: Full<Bytes>) -> Self {
        Self {
            inner: Inner::Refused { body },
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().inner.project() {
            InnerProj::Called { body } => body.poll_frame(cx),
            InnerProj::Refused { body } => body.poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Called { body } => body.is_end_stream(),
            Inner::Refused { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Called { body } => body.size_hint(),
            Inner::Refused { body } => body.size_hint(),
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::called(B::default())
    }
}
