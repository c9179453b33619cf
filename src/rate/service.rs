use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use tower::Service;

use super::admission::{Denied, Questions, admit, admit_later};
use super::engine::Engine;
use super::future::{Plan, ResponseFuture, Shedder};
use super::permits::Permits;
use super::subject::Subject;
use super::{Body, Direction};
use crate::Responder;
use crate::audit::Record;
use crate::refusal::ResponseBody;

/// The service of [`ByteRateLayer`](super::ByteRateLayer).
#[derive(Clone, Debug)]
pub struct ByteRate<S> {
    inner: S,
    engine: Arc<Engine>,
    responder: Responder,
}

impl<S> ByteRate<S> {
    pub(super) fn new(inner: S, engine: Arc<Engine>, responder: Responder) -> Self {
        Self {
            inner,
            engine,
            responder,
        }
    }

    /// What is to be done with a request; `None` if no limit concerns it.
    fn plan<B: http_body::Body>(
        &self,
        request: &mut Request<B>,
    ) -> Result<Option<(Plan, Questions)>, Denied> {
        let compiled = self.engine.compiled();
        let subject = Subject::of(request, compiled.routed);
        if subject.is_exempt(request.uri().path(), &compiled.limits.exempt) {
            return Ok(None);
        }
        let replayable = request.body().is_end_stream();
        // An upload begins with a request that has no body yet.
        let direction = match *request.method() {
            Method::GET | Method::HEAD => Direction::Response,
            _ => Direction::Request,
        };
        let is_pull = replayable && direction == Direction::Response;
        let later = is_pull && subject.may_be_small(&compiled.limits.exempt);
        let (permits, questions) = if later {
            let questions = admit_later(&self.engine, &compiled, &subject)?;
            (Permits::default(), questions)
        } else {
            admit(&self.engine, &compiled, &subject, direction, replayable)?
        };
        let plan = Plan {
            engine: Arc::clone(&self.engine),
            subject: Arc::new(subject),
            permits,
            record: Record::of(request.extensions()).cloned(),
            head: request.method() == Method::HEAD,
            later,
            shedder: (is_pull && (compiled.sheds || later))
                .then(|| Box::new(Shedder::new(&self.responder, request))),
        };
        Ok(Some((plan, questions)))
    }
}

impl<S, B, R> Service<Request<B>> for ByteRate<S>
where
    // A clone takes the place of the service that waits for the answer about a quota.
    S: Service<Request<Body<B>>, Response = Response<R>> + Clone,
    B: http_body::Body<Data = Bytes>,
    R: http_body::Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<Body<R>>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.plan(&mut request) {
            Ok(None) => ResponseFuture::called(&mut self.inner, request, None),
            Ok(Some((plan, questions))) if questions.is_empty() => {
                ResponseFuture::called(&mut self.inner, request, Some(plan))
            }
            Ok(Some((plan, questions))) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                let responder = self.responder.clone();
                ResponseFuture::asking(ready, request, plan, questions, responder)
            }
            Err(denied) => ResponseFuture::refused(denied.answer(&self.responder, &request)),
        }
    }
}
