use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use pin_project_lite::pin_project;

use super::admission::{Denied, Permits, admit_transfer};
use super::engine::Engine;
use super::pacer::Pacer;
use super::subject::Subject;
use super::{Body, Direction, headers};
use crate::Responder;
use crate::audit::Record;
use crate::refusal::ResponseBody;

pin_project! {
    /// The future of [`ByteRate`](super::ByteRate). It is never held back: only body frames are.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: Inner<F>,
    }
}

pin_project! {
    #[project = InnerProj]
    #[derive(Debug)]
    enum Inner<F> {
        Called {
            #[pin]
            future: F,
            plan: Option<Plan>,
        },
        Refused {
            response: Option<Response<Full<Bytes>>>,
        },
    }
}

/// What is to be done with a request that was let in.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) engine: Arc<Engine>,
    pub(super) subject: Arc<Subject>,
    pub(super) permits: Permits,
    pub(super) record: Option<Record>,
    pub(super) head: bool,
    /// With what a response is refused that would take too long.
    pub(super) shedder: Option<Shedder>,
}

/// A responder, and of the request what an answer needs to know.
#[derive(Debug)]
pub(super) struct Shedder {
    responder: Responder,
    request: Request<()>,
}

impl<F> ResponseFuture<F> {
    pub(super) fn called(future: F, plan: Option<Plan>) -> Self {
        Self {
            inner: Inner::Called { future, plan },
        }
    }

    pub(super) fn refused(response: Response<Full<Bytes>>) -> Self {
        Self {
            inner: Inner::Refused {
                response: Some(response),
            },
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<Body<B>>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().inner.project() {
            InnerProj::Called { future, plan } => {
                let response = ready!(future.poll(cx))?;
                let Some(plan) = plan.take() else {
                    return Poll::Ready(Ok(free(response)));
                };
                Poll::Ready(Ok(plan.limit(response)))
            }
            InnerProj::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::refused))),
                // Polled after it was ready, which the contract of `Future` leaves open.
                None => Poll::Pending,
            },
        }
    }
}

impl Plan {
    /// The limits on the request's body.
    pub(super) fn request_pacer(&self) -> Pacer {
        let record = self.record.clone();
        Pacer::new(&self.engine, &self.subject, Direction::Request, record)
    }

    fn limit<B>(self, mut response: Response<B>) -> Response<ResponseBody<Body<B>>>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let compiled = self.engine.compiled();
        let length = response.body().size_hint().exact();
        let status = response.status();
        let bodiless = self.head
            || response.body().is_end_stream()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let small = self.subject.is_small(length, &compiled.limits.exempt);
        if !bodiless
            && !small
            && let Some(length) = length
            && let Some(shedder) = &self.shedder
            && let Err(denied) = admit_transfer(&compiled, &self.subject, length)
        {
            return shedder.refuse(denied).map(ResponseBody::refused);
        }
        if compiled.limits.headers {
            headers::insert(
                response.headers_mut(),
                &self.engine,
                &compiled,
                &self.subject,
            );
        }
        if bodiless {
            return free(response);
        }
        let pacer = if small {
            None
        } else {
            let (engine, subject) = (&self.engine, &self.subject);
            Some(Pacer::new(
                engine,
                subject,
                Direction::Response,
                self.record,
            ))
        };
        let permits = self.permits;
        response.map(|body| ResponseBody::called(Body::new(body, pacer).with_permits(permits)))
    }
}

impl Shedder {
    pub(super) fn new<B>(responder: &Responder, request: &Request<B>) -> Self {
        let mut stand_in = Request::new(());
        stand_in.method_mut().clone_from(request.method());
        stand_in.uri_mut().clone_from(request.uri());
        if let Some(record) = Record::of(request.extensions()) {
            stand_in.extensions_mut().insert(record.clone());
        }
        Self {
            responder: responder.clone(),
            request: stand_in,
        }
    }

    fn refuse(&self, denied: Denied) -> Response<Full<Bytes>> {
        denied.answer(&self.responder, &self.request)
    }
}

fn free<B>(response: Response<B>) -> Response<ResponseBody<Body<B>>> {
    response.map(|body| ResponseBody::called(Body::free(body)))
}
