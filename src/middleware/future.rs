use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::drain::{Drain, Manner, Rest};
use super::{Answering, Body, Check, Head, Kept, Observe, Outcome, RefusalResponse, Wait};

pin_project! {
    /// The future of [`Checked`](super::Checked): the inner service's future, a refusal, a refusal that waits for
    /// what its client is still sending or, until the layer's decision is made, the request and the service that
    /// was ready for it.
    ///
    /// # Panics
    /// Panics when it is polled after it was ready.
    pub struct ResponseFuture<S, L, B, F> {
        #[pin]
        state: State<S, L, B, F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, L, B, F> {
        Called {
            // Before what is kept: its drop may say why it ended, and that of the log writes it down.
            #[pin]
            future: F,
            answering: Answering,
        },
        Refused {
            response: Option<RefusalResponse>,
            answering: Answering,
        },
        // Boxed, since it is rare.
        Draining {
            draining: Option<Box<Draining<B>>>,
        },
        // Boxed, since it is rare and a request is large.
        Waiting {
            waiting: Option<Box<Waiting<S, L, B>>>,
        },
        Done,
    }
}

/// A request that cannot be decided on yet.
struct Waiting<S, L, B> {
    wait: Box<dyn Wait>,
    head: Head,
    body: B,
    inner: S,
    layer: Arc<L>,
    kept: Kept,
}

/// A refused request whose client is still sending.
struct Draining<B> {
    drain: Drain<B>,
    // Before the log: what was received is in it.
    received: Option<Box<dyn Observe>>,
    manner: Manner,
    response: RefusalResponse,
    answering: Answering,
}

impl<S, L, B, F> ResponseFuture<S, L, B, F> {
    pub(super) fn called(future: F, answering: Answering) -> Self {
        Self {
            state: State::Called { future, answering },
        }
    }

    pub(super) fn refused(response: RefusalResponse, head: &Head, body: B, kept: Kept) -> Self
    where
        B: http_body::Body,
    {
        Self {
            state: State::refused(response, head, body, kept),
        }
    }

    /// Whether it is refused, and its answer waits for what the client still sends.
    #[cfg(feature = "serve")]
    pub(crate) fn is_refused(self: Pin<&mut Self>) -> bool {
        matches!(self.project().state.project(), StateProj::Draining { .. })
    }

    pub(super) fn waiting(
        wait: Box<dyn Wait>,
        head: Head,
        body: B,
        kept: Kept,
        inner: S,
        layer: Arc<L>,
    ) -> Self {
        let waiting = Some(Box::new(Waiting {
            wait,
            head,
            body,
            inner,
            layer,
            kept,
        }));
        Self {
            state: State::Waiting { waiting },
        }
    }
}

impl<S, L, B, F> State<S, L, B, F> {
    /// A refusal, for which nothing of the inner service's answer is limited or learnt.
    fn refused(mut response: RefusalResponse, head: &Head, body: B, kept: Kept) -> Self
    where
        B: http_body::Body,
    {
        let answering = Answering {
            plan: None,
            learn: None,
            advise: None,
            ..kept.answering
        };
        let manner = Manner::of(head);
        match manner.rest(&body) {
            Rest::Ended => {}
            Rest::Left => manner.announce_close(response.headers_mut()),
            Rest::Drained => {
                return Self::Draining {
                    draining: Some(Box::new(Draining {
                        drain: Drain::new(body),
                        received: kept.request.count,
                        manner,
                        response,
                        answering,
                    })),
                };
            }
        }
        Self::Refused {
            response: Some(response),
            answering,
        }
    }
}

impl<B: http_body::Body> Draining<B> {
    /// Polls for the answer, which may say that the connection ends with it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let received = &mut self.received;
        let ended = ready!(self.drain.poll(cx, |data| {
            if let Some(received) = received {
                received.data(&data.copy_to_bytes(data.remaining()));
            }
        }));
        if !ended {
            self.manner.announce_close(self.response.headers_mut());
        }
        Poll::Ready(())
    }
}

impl<S, L, B> Waiting<S, L, B>
where
    B: http_body::Body,
    L: Check<B>,
    S: Service<Request<L::Body>>,
{
    /// Polls for the decision: the answer if the request is refused.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<RefusalResponse>> {
        loop {
            let (head, kept) = (&mut self.head, &mut self.kept);
            kept.answering.polling(true);
            let polled = self.wait.poll(cx, head, kept);
            kept.answering.polling(false);
            let outcome = match ready!(polled) {
                Outcome::Pass => self.layer.resume(head, &self.body, kept),
                other => other,
            };
            match outcome {
                Outcome::Pass => return Poll::Ready(None),
                Outcome::Refuse(response) => return Poll::Ready(Some(response)),
                // The next check waits too.
                Outcome::Wait(wait) => self.wait = wait,
            }
        }
    }

    fn decided(self, refusal: Option<RefusalResponse>) -> State<S, L, B, S::Future> {
        let Self {
            head,
            body,
            mut inner,
            kept,
            ..
        } = self;
        if let Some(response) = refusal {
            return State::refused(response, &head, body, kept);
        }
        let request = head.map(|()| L::wrap(body, kept.request));
        State::Called {
            future: inner.call(request),
            answering: kept.answering,
        }
    }
}

impl<S, L, B, R> Future for ResponseFuture<S, L, B, S::Future>
where
    B: http_body::Body,
    L: Check<B>,
    S: Service<Request<L::Body>, Response = Response<R>>,
    R: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<Body<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Called { future, answering } => {
                    answering.polling(true);
                    let polled = future.poll(cx);
                    answering.polling(false);
                    let answered = ready!(polled);
                    let answering = mem::take(answering);
                    state.set(State::Done);
                    return Poll::Ready(match answered {
                        Ok(response) => Ok(answering.answer(response)),
                        Err(error) => {
                            answering.failed();
                            Err(error)
                        }
                    });
                }
                StateProj::Refused {
                    response,
                    answering,
                } => {
                    let (response, answering) = (response.take(), mem::take(answering));
                    state.set(State::Done);
                    if let Some(response) = response {
                        return Poll::Ready(Ok(answering.refuse(*response)));
                    }
                }
                StateProj::Draining { draining } => {
                    let Some(mut refused) = draining.take() else {
                        state.set(State::Done);
                        continue;
                    };
                    if refused.poll(cx).is_pending() {
                        *draining = Some(refused);
                        return Poll::Pending;
                    }
                    let Draining {
                        drain,
                        received,
                        response,
                        answering,
                        ..
                    } = *refused;
                    // The body before the answer: a server that sees it gone knows what it is to say of
                    // the connection.
                    drop((drain, received));
                    state.set(State::Done);
                    return Poll::Ready(Ok(answering.refuse(*response)));
                }
                StateProj::Waiting { waiting } => {
                    let Some(mut undecided) = waiting.take() else {
                        state.set(State::Done);
                        continue;
                    };
                    match undecided.poll(cx) {
                        Poll::Pending => {
                            *waiting = Some(undecided);
                            return Poll::Pending;
                        }
                        Poll::Ready(refusal) => {
                            let decided = undecided.decided(refusal);
                            state.set(decided);
                        }
                    }
                }
                StateProj::Done => panic!("`ResponseFuture` polled after completion"),
            }
        }
    }
}

impl<S, L, B, F> fmt::Debug for ResponseFuture<S, L, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
