use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use tower::Service;

use super::{Body, Check, Kept, Outcome, ResponseFuture};

/// A service behind a layer `L` of this crate: the layer answers a request that it refuses, the inner service
/// every other. `Clone` costs an `Arc` and the inner service's clone.
#[derive(Clone, Debug)]
pub struct Checked<S, L> {
    inner: S,
    layer: Arc<L>,
}

impl<S, L> Checked<S, L> {
    pub(crate) fn with(inner: S, layer: L) -> Self {
        Self {
            inner,
            layer: Arc::new(layer),
        }
    }

    crate::util::inner_service::accessors!();
}

impl<S, L, B, R> Service<Request<B>> for Checked<S, L>
where
    // So that what the client of a refused request is still sending can be dealt with.
    B: http_body::Body,
    L: Check<B>,
    // A clone takes the place of the service that was ready for a request which has to wait.
    S: Service<Request<L::Body>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    type Response = Response<Body<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, L, B, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let mut head = Request::from_parts(parts, ());
        let mut kept = Kept::default();
        match self.layer.check(&mut head, &body, &mut kept) {
            Outcome::Pass => {
                let request = head.map(|()| L::wrap(body, kept.request));
                ResponseFuture::called(self.inner.call(request), kept.answering)
            }
            Outcome::Refuse(response) => ResponseFuture::refused(response, &head, body, kept),
            Outcome::Wait(wait) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                let layer = Arc::clone(&self.layer);
                ResponseFuture::waiting(wait, head, body, kept, ready, layer)
            }
        }
    }
}
