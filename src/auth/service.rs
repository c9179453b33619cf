use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, Entry};
use http::{HeaderMap, Request, Response};
use tower::Service;

use super::Authentication;
use crate::Responder;
use crate::audit::Record;
use crate::refusal::{ResponseBody, ResponseFuture};

/// The service of [`TokenAuthLayer`](super::TokenAuthLayer).
#[derive(Clone, Debug)]
pub struct TokenAuth<S> {
    inner: S,
    authentication: Authentication,
    responder: Responder,
    pass_authorization: bool,
}

impl<S> TokenAuth<S> {
    pub(super) fn new(
        inner: S,
        authentication: Authentication,
        responder: Responder,
        pass_authorization: bool,
    ) -> Self {
        Self {
            inner,
            authentication,
            responder,
            pass_authorization,
        }
    }
}

impl<S, B, R> Service<Request<B>> for TokenAuth<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let identified = self
            .authentication
            .identify(request.headers(), request.extensions());
        if self.pass_authorization {
            mark_sensitive(request.headers_mut());
        } else {
            request.headers_mut().remove(AUTHORIZATION);
        }
        match identified {
            Ok(principal) => {
                if let Some(record) = Record::of(request.extensions()) {
                    record.identified(&principal);
                }
                request.extensions_mut().insert(principal);
                ResponseFuture::called(self.inner.call(request))
            }
            Err(refusal) => self.responder.refuse_future(refusal, &request),
        }
    }
}

fn mark_sensitive(headers: &mut HeaderMap) {
    if let Entry::Occupied(mut entry) = headers.entry(AUTHORIZATION) {
        for value in entry.iter_mut() {
            value.set_sensitive(true);
        }
    }
}
