use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::ResponseBody;
use super::entry::{Entry, Outcome};

pin_project! {
    /// The future of [`AccessLog`](super::AccessLog). Dropped early, it writes the event.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        entry: Option<Box<Entry>>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, entry: Option<Box<Entry>>) -> Self {
        Self { inner, entry }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(entry) = this.entry {
            entry.polling(true);
        }
        let polled = this.inner.poll(cx);
        if let Some(entry) = this.entry {
            entry.polling(false);
        }
        let result = ready!(polled);
        let mut entry = this.entry.take();
        match result {
            Ok(mut response) => {
                if let Some(entry) = &mut entry {
                    entry.answered(&mut response);
                }
                Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, entry))))
            }
            Err(error) => {
                if let Some(mut entry) = entry {
                    entry.ended(Outcome::ServiceError);
                }
                Poll::Ready(Err(error))
            }
        }
    }
}
