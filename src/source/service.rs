use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::Networks;
use crate::refusal::{ResponseBody, ResponseFuture};
use crate::{ClientAddr, Refusal, Responder, Watched};

/// The service of [`SourceLayer`](super::SourceLayer).
#[derive(Clone, Debug)]
pub struct Source<S> {
    inner: S,
    networks: Watched<Networks>,
    responder: Responder,
}

impl<S> Source<S> {
    pub(super) fn new(inner: S, networks: Watched<Networks>, responder: Responder) -> Self {
        Self {
            inner,
            networks,
            responder,
        }
    }
}

impl<S, B, R> Service<Request<B>> for Source<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let networks = self.networks.load();
        let client = || ClientAddr::of(request.extensions());
        if networks.is_open() || client().is_some_and(|client| networks.permits(client.ip())) {
            drop(networks);
            ResponseFuture::called(self.inner.call(request))
        } else {
            self.responder
                .refuse_future(Refusal::SourceDenied, &request)
        }
    }
}
