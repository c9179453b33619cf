use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::body::Watcher;
use super::{Body, ResponseFuture, Tracked, Verdict};
use crate::audit::{Record, metrics};
use crate::refusal::ResponseBody;
use crate::{Connection, Refusal, Responder};

/// The service of [`RevocationLayer`](super::RevocationLayer).
#[derive(Clone, Debug)]
pub struct Revoking<S> {
    inner: S,
    responder: Responder,
    certificate_required: bool,
}

impl<S> Revoking<S> {
    pub(super) fn new(inner: S, responder: Responder, certificate_required: bool) -> Self {
        Self {
            inner,
            responder,
            certificate_required,
        }
    }
}

impl<S, B, R> Service<Request<B>> for Revoking<S>
where
    S: Service<Request<Body<B>>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<Body<R>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let extensions = request.extensions();
        let connection = Connection::of(extensions);
        let tracked = connection.and_then(|one| one.state::<Tracked>().zip(Some(one)));
        let Some((tracked, connection)) = tracked else {
            if self.certificate_required {
                let refusal = Refusal::CertificateMissing;
                return ResponseFuture::refused(self.responder.refuse(refusal, &request));
            }
            let request = request.map(|body| Body::new(body, None));
            return ResponseFuture::called(self.inner.call(request), None);
        };
        let record = Record::of(extensions);
        let verdict = (!tracked.is_good()).then(|| tracked.verdict());
        let verdict = verdict.as_deref().unwrap_or(&Verdict::Good);
        if let Some(record) = record {
            record.revocation_checked(verdict.label());
        }
        if let Verdict::UnknownAllowed(_) = verdict {
            metrics::unknown_allowed();
        }
        if let Some(refusal) = verdict.refusal() {
            if let Some(record) = record {
                record.explained(verdict.to_string());
            }
            return ResponseFuture::refused(self.responder.refuse(refusal, &request));
        }
        let watcher = Watcher::new(tracked.clone(), record.cloned());
        let for_response = watcher.clone().holding(connection.begin_request());
        let request = request.map(|body| Body::new(body, Some(watcher)));
        ResponseFuture::called(self.inner.call(request), Some(for_response))
    }
}
