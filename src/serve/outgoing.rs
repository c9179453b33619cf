use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::activity::InFlight;
use super::panics;
use super::streams;
use crate::{Body, BodyError};

pin_project! {
    /// The body of an answer. Its request is in flight until this is dropped.
    pub(super) struct Outgoing<B> {
        #[pin]
        inner: Inner<B>,
        _request: InFlight,
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B> {
        Service { #[pin] body: Body<B> },
        Own { #[pin] body: Full<Bytes> },
        Panicked,
    }
}

impl<B> Outgoing<B> {
    pub(super) fn new(body: Body<B>, request: InFlight) -> Self {
        Self {
            inner: Inner::Service { body },
            _request: request,
        }
    }

    /// The server's own answer in place of the service's.
    pub(super) fn own(body: Bytes, request: InFlight) -> Self {
        Self {
            inner: Inner::Own {
                body: Full::new(body),
            },
            _request: request,
        }
    }
}

impl<B> http_body::Body for Outgoing<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut inner = self.project().inner;
        let polled = match inner.as_mut().project() {
            InnerProj::Service { body } => {
                match catch_unwind(AssertUnwindSafe(|| body.poll_frame(cx))) {
                    Ok(polled) => polled,
                    Err(payload) => {
                        panics::log(&*payload, "the connection or stream is ended");
                        inner.set(Inner::Panicked);
                        let error = "the service panicked".into();
                        Poll::Ready(Some(Err(BodyError::Inner(error))))
                    }
                }
            }
            InnerProj::Own { body } => body.poll_frame(cx).map_err(|never| match never {}),
            InnerProj::Panicked => Poll::Ready(None),
        };
        streams::answered(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Service { body } => body.is_end_stream(),
            Inner::Own { body } => body.is_end_stream(),
            Inner::Panicked => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Service { body } => body.size_hint(),
            Inner::Own { body } => body.size_hint(),
            Inner::Panicked => SizeHint::new(),
        }
    }
}
