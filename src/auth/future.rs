use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::password_check::PasswordCheck;
use super::service::Gate;
use crate::refusal::{self, ResponseBody};

pin_project! {
    /// The future of [`TokenAuth`](super::TokenAuth): the inner service's, a ready refusal, or, until a
    /// password is verified, the request and the service that was ready for it.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, F> {
        Answering {
            #[pin]
            future: refusal::ResponseFuture<F>,
        },
        Verifying {
            pending: PasswordCheck,
            waiting: Option<Box<Waiting<S, B>>>,
        },
    }
}

/// Boxed, so that the future of a request which does not wait is no larger for it.
struct Waiting<S, B> {
    request: Request<B>,
    inner: S,
    gate: Gate,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) fn answering(future: refusal::ResponseFuture<S::Future>) -> Self {
        Self {
            state: State::Answering { future },
        }
    }

    pub(super) fn verifying(
        pending: PasswordCheck,
        request: Request<B>,
        inner: S,
        gate: Gate,
    ) -> Self {
        let waiting = Some(Box::new(Waiting {
            request,
            inner,
            gate,
        }));
        Self {
            state: State::Verifying { pending, waiting },
        }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Output = Result<Response<ResponseBody<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let answering = match state.as_mut().project() {
                StateProj::Answering { future } => return future.poll(cx),
                StateProj::Verifying { pending, waiting } => {
                    let identified = ready!(Pin::new(pending).poll(cx));
                    let Some(waiting) = waiting.take() else {
                        // Polled after it was ready, which the contract of `Future` leaves open.
                        return Poll::Pending;
                    };
                    let Waiting {
                        request,
                        mut inner,
                        gate,
                    } = *waiting;
                    gate.answer(identified, request, &mut inner)
                }
            };
            state.set(State::Answering { future: answering });
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
