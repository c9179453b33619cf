use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, Entry};
use http::{HeaderMap, Request, Response};
use tower::Service;

use super::authorization::AuthorizationField;
use super::decision::Decision;
use super::{Authentication, ResponseFuture};
use crate::audit::Record;
use crate::refusal::{self, ResponseBody};
use crate::{Principal, Refusal, Responder};

/// The service of [`TokenAuthLayer`](super::TokenAuthLayer).
#[derive(Clone, Debug)]
pub struct TokenAuth<S> {
    inner: S,
    gate: Gate,
}

/// What a service and its futures need to carry a decision out.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) authentication: Arc<Authentication>,
    pub(super) responder: Responder,
    pub(super) pass_authorization: bool,
}

impl<S> TokenAuth<S> {
    pub(super) fn new(inner: S, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

impl<S, B, R> Service<Request<B>> for TokenAuth<S>
where
    // A clone takes the place of the service that waits for a password's verification.
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let authentication = &self.gate.authentication;
        let decision = if self.gate.pass_authorization {
            mark_sensitive(request.headers_mut());
            authentication.decide(&request, AuthorizationField::of(request.headers()))
        } else {
            let before = request.headers().len();
            let taken = request.headers_mut().remove(AUTHORIZATION);
            let shown = match &taken {
                None => AuthorizationField::Nothing,
                Some(value) if before - request.headers().len() == 1 => {
                    AuthorizationField::One(value)
                }
                Some(_) => AuthorizationField::Several,
            };
            authentication.decide(&request, shown)
        };
        match decision {
            Decision::Made(identified) => {
                let future = self.gate.answer(identified, request, &mut self.inner);
                ResponseFuture::answering(future)
            }
            Decision::Pending(pending) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::verifying(pending, request, ready, self.gate.clone())
            }
        }
    }
}

impl Gate {
    /// Calls the inner service or refuses.
    #[inline]
    pub(super) fn answer<S, B>(
        &self,
        identified: Result<Principal, Refusal>,
        mut request: Request<B>,
        inner: &mut S,
    ) -> refusal::ResponseFuture<S::Future>
    where
        S: Service<Request<B>>,
    {
        match identified {
            Ok(principal) => {
                if let Some(record) = Record::of(request.extensions()) {
                    record.identified(&principal);
                }
                #[cfg(feature = "jwt")]
                if let Some(grants) = principal.grants()
                    && let Err(refusal) = grants.decline_mount(&mut request)
                {
                    return self.responder.refuse_future(refusal, &request);
                }
                request.extensions_mut().insert(principal);
                refusal::ResponseFuture::called(inner.call(request))
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
