use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use pin_project_lite::pin_project;
use tower::Service;

use super::admission::{Denied, Questions, admit, admit_transfer};
use super::engine::{Compiled, Engine};
use super::pacer::Pacer;
use super::permits::Permits;
use super::subject::Subject;
use super::watcher::Stay;
use super::{Body, Direction, headers};
use crate::Responder;
use crate::audit::Record;
use crate::refusal::{self, ResponseBody};

pin_project! {
    /// The future of [`ByteRate`](super::ByteRate). It is never held back by a rate: only body frames
    /// are. Where only a fleet's server knows whether a quota is used up, it waits for the answer, and
    /// the inner service is not called before.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<Body<B>>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, F> {
        Calling {
            #[pin]
            inner: refusal::ResponseFuture<F>,
            plan: Option<Plan>,
        },
        // Boxed, since it is rare and a request is large.
        Asking {
            waiting: Option<Box<Waiting<S, B>>>,
        },
    }
}

/// A request whose quota is asked for, and the service that was ready for it.
struct Waiting<S, B> {
    request: Request<B>,
    inner: S,
    plan: Plan,
    questions: Questions,
    responder: Responder,
}

/// What is to be done with a request that was let in.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) engine: Arc<Engine>,
    pub(super) subject: Arc<Subject>,
    pub(super) permits: Permits,
    pub(super) record: Option<Record>,
    pub(super) head: bool,
    /// Whether the request is admitted only once its answer is known to be none that is exempt.
    pub(super) later: bool,
    /// With what a response is refused.
    pub(super) shedder: Option<Box<Shedder>>,
}

/// A responder, and of the request what an answer needs to know.
#[derive(Debug)]
pub(super) struct Shedder {
    responder: Responder,
    request: Request<()>,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<Body<B>>>,
    B: http_body::Body<Data = Bytes>,
{
    /// Calls the inner service.
    pub(super) fn called(inner: &mut S, request: Request<B>, plan: Option<Plan>) -> Self {
        Self {
            state: State::called(inner, request, plan),
        }
    }

    /// Calls the inner service once the questions are answered, and if they are so that it may.
    pub(super) fn asking(
        inner: S,
        request: Request<B>,
        plan: Plan,
        questions: Questions,
        responder: Responder,
    ) -> Self {
        let waiting = Some(Box::new(Waiting {
            request,
            inner,
            plan,
            questions,
            responder,
        }));
        Self {
            state: State::Asking { waiting },
        }
    }

    pub(super) fn refused(response: Response<Full<Bytes>>) -> Self {
        Self {
            state: State::refused(response),
        }
    }
}

impl<S, B> State<S, B, S::Future>
where
    S: Service<Request<Body<B>>>,
    B: http_body::Body<Data = Bytes>,
{
    fn called(inner: &mut S, request: Request<B>, plan: Option<Plan>) -> Self {
        let request = request.map(|body| match &plan {
            Some(plan) if !body.is_end_stream() => Body::new(body, Some(plan.request_pacer())),
            _ => Body::free(body),
        });
        Self::Calling {
            inner: refusal::ResponseFuture::called(inner.call(request)),
            plan,
        }
    }

    fn refused(response: Response<Full<Bytes>>) -> Self {
        Self::Calling {
            inner: refusal::ResponseFuture::refused(response),
            plan: None,
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<Body<B>>, Response = Response<R>>,
    B: http_body::Body<Data = Bytes>,
    R: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<Body<R>>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Calling { inner, plan } => {
                    let response = ready!(inner.poll(cx))?;
                    return Poll::Ready(Ok(match plan.take() {
                        Some(plan) => plan.limit(response),
                        None => free(response),
                    }));
                }
                StateProj::Asking { waiting } => {
                    let Some(mut asked) = waiting.take() else {
                        // Polled after it was ready, which the contract of `Future` leaves open.
                        return Poll::Pending;
                    };
                    let Waiting {
                        questions, plan, ..
                    } = &mut *asked;
                    let answers = if plan.later {
                        questions.poll_known(cx, &plan.engine).map(Ok)
                    } else {
                        questions.poll_answers(cx, &plan.engine)
                    };
                    let Poll::Ready(answers) = answers else {
                        *waiting = Some(asked);
                        return Poll::Pending;
                    };
                    let mut asked = *asked;
                    match answers {
                        Ok(()) => State::called(&mut asked.inner, asked.request, Some(asked.plan)),
                        Err(denied) => {
                            State::refused(denied.answer(&asked.responder, &asked.request))
                        }
                    }
                }
            };
            state.set(next);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<Body<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl Plan {
    /// The limits on the request's body.
    pub(super) fn request_pacer(&self) -> Pacer {
        let record = self.record.clone();
        let compiled = self.engine.compiled();
        let direction = Direction::Request;
        Pacer::new(&self.engine, &compiled, &self.subject, direction, record)
    }

    /// Decides whether a pull's response may begin.
    fn admit(&mut self, compiled: &Compiled, length: Option<u64>) -> Result<(), Denied> {
        let (engine, subject) = (&self.engine, &self.subject);
        if self.later {
            // What had to be asked has been.
            let (permits, _) = admit(engine, compiled, subject, Direction::Response, true)?;
            self.permits = permits;
        }
        match length {
            Some(length) => admit_transfer(compiled, subject, length),
            None => Ok(()),
        }
    }

    fn limit<B>(
        mut self,
        mut response: Response<ResponseBody<B>>,
    ) -> Response<ResponseBody<Body<B>>>
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
            && let Some(shedder) = self.shedder.take()
            && let Err(denied) = self.admit(&compiled, length)
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
        let stay = match compiled.limits.min_progress {
            Some(least) => {
                let record = self.record.clone();
                self.engine.watcher.watch(least, self.permits, record)
            }
            None => Stay::Counted(self.permits),
        };
        let pacer = if small {
            None
        } else {
            let (engine, subject) = (&self.engine, &self.subject);
            let direction = Direction::Response;
            let record = self.record;
            Some(Pacer::new(engine, &compiled, subject, direction, record))
        };
        let limited = |body| Body::new(body, pacer).with_stay(stay);
        response.map(|body| body.map_inner(limited))
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

fn free<B>(response: Response<ResponseBody<B>>) -> Response<ResponseBody<Body<B>>> {
    response.map(|body| body.map_inner(Body::free))
}
