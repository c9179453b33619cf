use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming as HyperBody;
use hyper::upgrade::OnUpgrade;
use pin_project_lite::pin_project;
use tower::Service;

use super::activity::{Activity, InFlight};
use super::front::{Call, Front};
use super::incoming::{BodyDeadlines, Left, Unread};
use super::outgoing::Outgoing;
use super::{Incoming, failure, panics, refused, streams};
use crate::connection::places::{Place, Share};
use crate::middleware::drain::{self, Drain};
use crate::telemetry::metrics;
use crate::{Body, Connection, Refusal};

/// Answers the requests of one connection.
#[derive(Debug)]
pub(super) struct Responding<S> {
    pub(super) front: Front<S>,
    pub(super) connection: Connection,
    pub(super) activity: Arc<Activity>,
    pub(super) place: Arc<Place>,
    pub(super) share: Option<Share>,
    pub(super) deadlines: BodyDeadlines,
}

pin_project! {
    /// One request, until its answer's head is there.
    pub(super) struct Respond<S, R>
    where
        S: Service<Request<Body<Incoming>>>,
    {
        #[pin]
        state: State<S>,
        answer: Option<Response<Answer<R>>>,
        unread: Option<Arc<Unread>>,
        // What the client asked for and hyper holds the connection for.
        upgrade: Option<OnUpgrade>,
        in_flight: Option<InFlight>,
        place: Arc<Place>,
        version: Version,
        is_head: bool,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S>
    where
        S: Service<Request<Body<Incoming>>>,
    {
        Starting { front: Front<S>, request: Option<Request<Incoming>> },
        Calling { #[pin] call: Call<S> },
        Answered,
        Draining { drain: Option<Drain<HyperBody>> },
        Done,
    }
}

enum Answer<R> {
    Service(Body<R>),
    Own(Bytes),
}

impl<S, R> hyper::service::Service<Request<HyperBody>> for Responding<S>
where
    S: Service<Request<Body<Incoming>>, Response = Response<R>> + Clone,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    R: http_body::Body<Data = Bytes>,
{
    type Response = Response<Outgoing<R>>;
    type Error = Infallible;
    type Future = Respond<S, R>;

    fn call(&self, request: Request<HyperBody>) -> Respond<S, R> {
        let share = self.share.as_ref().map(Share::begin).transpose();
        let full = share.as_ref().err().copied();
        let version = request.version();
        let (in_flight, first) = self.activity.begin_request(version, share.ok().flatten());
        if first {
            self.place.heard();
            let (new, all) = self.place.counts();
            metrics::connections(new, all);
        }
        let (mut head, body) = request.into_parts();
        let upgrade = head.extensions.get::<OnUpgrade>().cloned();
        #[cfg(feature = "axum")]
        head.extensions
            .insert(axum::extract::ConnectInfo(self.connection.clone()));
        head.extensions.insert(self.connection.clone());
        let (body, unread) = Incoming::new(body, &head.headers, self.deadlines);
        let is_head = head.method == Method::HEAD;
        let (state, answer) = match full {
            None => {
                let front = self.front.clone();
                let request = Some(Request::from_parts(head, body));
                (State::Starting { front, request }, None)
            }
            Some(full) => {
                // What is left of the body is looked for with the answer.
                drop(body);
                refused::request(&self.connection, full);
                (State::Answered, Some(failure::busy().map(Answer::Own)))
            }
        };
        Respond {
            version,
            is_head,
            state,
            answer,
            unread,
            upgrade,
            in_flight: Some(in_flight),
            place: Arc::clone(&self.place),
        }
    }
}

impl<S, R> Future for Respond<S, R>
where
    S: Service<Request<Body<Incoming>>, Response = Response<R>> + Clone,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    R: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<Outgoing<R>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            match this.state.as_mut().project() {
                StateProj::Starting { .. } | StateProj::Calling { .. } => {
                    let state = this.state.as_mut();
                    let polled = catch_unwind(AssertUnwindSafe(|| state.poll_service(cx)));
                    if let Ok(Poll::Pending) = polled
                        && this.state.as_mut().is_refused()
                    {
                        // Before its answer goes out, which the client can put off.
                        this.place.answered(true);
                    }
                    let answer = match polled {
                        Ok(polled) => match ready!(polled) {
                            Ok(response) => {
                                let refusal = response.extensions().get::<Refusal>();
                                this.place.answered(refusal.is_some());
                                response.map(Answer::Service)
                            }
                            Err(error) => {
                                let error: Box<dyn Error + Send + Sync> = error.into();
                                failure::of(&*error).map(Answer::Own)
                            }
                        },
                        Err(payload) => {
                            panics::log(&*payload, "the request is answered with status 500");
                            failure::internal().map(Answer::Own)
                        }
                    };
                    if let Some(upgrade) = this.upgrade.take()
                        && answer.status() != StatusCode::SWITCHING_PROTOCOLS
                        && let Some(request) = &this.in_flight
                    {
                        request.decline(upgrade);
                    }
                    *this.answer = Some(answer);
                    // Before the body is looked for: the service's future may hold it.
                    this.state.set(State::Answered);
                }
                StateProj::Answered => {
                    let left = this.unread.take().map_or(Left::Nothing, |body| body.take());
                    let next = match left {
                        Left::Nothing => State::Done,
                        // A client that waits to be asked for it waits for the answer as well.
                        Left::Unasked(body) if *this.version == Version::HTTP_2 => {
                            drain_behind_answer(Drain::new(body));
                            State::Done
                        }
                        // What comes next on the connection may belong to it or not.
                        Left::Lost | Left::Unasked(_) => {
                            announce_close(this.answer, *this.version);
                            State::Done
                        }
                        // The answer says already that nothing more is read.
                        Left::Body(_) if closes(this.answer.as_ref()) => State::Done,
                        Left::Body(body)
                            if *this.version == Version::HTTP_2 && !is_small(&body) =>
                        {
                            drain_behind_answer(Drain::new(body));
                            State::Done
                        }
                        // It would be read in vain.
                        Left::Body(body) if body.size_hint().lower() > drain::MOST => {
                            announce_close(this.answer, *this.version);
                            State::Done
                        }
                        Left::Body(body) => State::Draining {
                            drain: Some(Drain::new(body)),
                        },
                    };
                    this.state.set(next);
                }
                StateProj::Draining { drain } => {
                    let over = drain.as_mut().map(|drain| drain.poll(cx, |_| {}));
                    let ended = ready!(over.unwrap_or(Poll::Ready(true)));
                    match drain.take() {
                        _ if ended => {}
                        Some(drain) if *this.version == Version::HTTP_2 => {
                            drain_behind_answer(drain);
                        }
                        _ => announce_close(this.answer, *this.version),
                    }
                    this.state.set(State::Done);
                }
                StateProj::Done => {
                    let (Some(answer), Some(request)) = (this.answer.take(), this.in_flight.take())
                    else {
                        panic!("`Respond` polled after completion");
                    };
                    streams::answered(true);
                    let is_head = *this.is_head;
                    return Poll::Ready(Ok(answer.map(|body| match body {
                        Answer::Service(body) => Outgoing::new(body, request),
                        Answer::Own(_) if is_head => Outgoing::own(Bytes::new(), request),
                        Answer::Own(body) => Outgoing::own(body, request),
                    })));
                }
            }
        }
    }
}

impl<S, R> State<S>
where
    S: Service<Request<Body<Incoming>>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    fn poll_service(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Body<R>>, S::Error>> {
        loop {
            let call = match self.as_mut().project() {
                StateProj::Starting { front, request } => {
                    ready!(front.poll_ready(cx))?;
                    let Some(request) = request.take() else {
                        unreachable!("a request is called once");
                    };
                    front.call(request)
                }
                StateProj::Calling { call } => return call.poll(cx),
                _ => unreachable!("the service is polled before its answer"),
            };
            self.set(State::Calling { call });
        }
    }
}

impl<S> State<S>
where
    S: Service<Request<Body<Incoming>>>,
{
    fn is_refused(self: Pin<&mut Self>) -> bool {
        match self.project() {
            StateProj::Calling { call } => call.is_refused(),
            _ => false,
        }
    }
}

/// Whether all of a body will have been drained before its answer.
fn is_small(body: &HyperBody) -> bool {
    let exact = body.size_hint().exact();
    exact.is_some_and(|length| length <= drain::MOST)
}

/// Drains a body while its answer goes out. Once nothing holds the body its stream is reset (RFC 9113 §8.1), and
/// a client that finds the reset beside the answer takes it for a failure. Only the time is bounded: what is sent
/// on a stream that was reset is read and dropped too, so a bound of bytes would save nothing.
fn drain_behind_answer(drain: Drain<HyperBody>) {
    let mut drain = drain.for_its_time();
    tokio::spawn(async move { poll_fn(|cx| drain.poll(cx, |_| {})).await });
}

fn announce_close<R>(answer: &mut Option<Response<Answer<R>>>, version: Version) {
    if let Some(answer) = answer {
        drain::announce_close(version, answer.headers_mut());
    }
}

fn closes<R>(answer: Option<&Response<Answer<R>>>) -> bool {
    let value = answer.and_then(|answer| answer.headers().get(CONNECTION));
    value.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}
