use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::ResponseBody;
use super::entry::{Kept, Outcome};

pin_project! {
    /// The future of [`AccessLog`](super::AccessLog). Dropped early, it writes the event.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        // Gone once the answer is there.
        kept: Option<Kept>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, kept: Kept) -> Self {
        let kept = Some(kept);
        Self { inner, kept }
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
        let polling = |kept: &mut Option<Kept>, polled| {
            if let Some(entry) = kept.as_mut().and_then(Kept::entry) {
                entry.polling(polled);
            }
        };
        polling(this.kept, true);
        let polled = this.inner.poll(cx);
        polling(this.kept, false);
        let result = ready!(polled);
        let kept = this.kept.take();
        match result {
            Ok(mut response) => {
                let entry = kept.and_then(|kept| kept.answered(&mut response));
                Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, entry))))
            }
            Err(error) => {
                if let Some(Kept::Entry(mut entry)) = kept {
                    entry.ended(Outcome::ServiceError);
                }
                Poll::Ready(Err(error))
            }
        }
    }
}
