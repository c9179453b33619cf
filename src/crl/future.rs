use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::Body;
use super::body::Watcher;
use crate::refusal::{self, ResponseBody};

pin_project! {
    /// The future of [`Revoking`](super::Revoking).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: refusal::ResponseFuture<F>,
        watcher: Option<Watcher>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn called(future: F, watcher: Option<Watcher>) -> Self {
        Self {
            inner: refusal::ResponseFuture::called(future),
            watcher,
        }
    }

    pub(super) fn refused(response: Response<Full<Bytes>>) -> Self {
        Self {
            inner: refusal::ResponseFuture::refused(response),
            watcher: None,
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<Body<B>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let watcher = this.watcher.take();
        Poll::Ready(Ok(
            response.map(|body| body.map_inner(|body| Body::new(body, watcher)))
        ))
    }
}
