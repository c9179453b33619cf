use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use super::Incoming;
use crate::guard::Guarded;
use crate::middleware::ResponseFuture;
use crate::{Body, Guard};

/// The service of a server, behind its guard if it has one. Its requests and answers have the same bodies
/// either way.
#[derive(Clone, Debug)]
pub(super) enum Front<S> {
    Guarded(Guarded<S>),
    Bare(S),
}

pin_project! {
    #[project = CallProj]
    pub(super) enum Call<S>
    where
        S: Service<Request<Body<Incoming>>>,
    {
        Guarded { #[pin] future: ResponseFuture<S, Guard, Incoming, S::Future> },
        Bare { #[pin] future: S::Future },
    }
}

impl<S> Front<S> {
    pub(super) fn new(service: S, guard: Option<Guard>) -> Self {
        match guard {
            Some(guard) => Self::Guarded(Guarded::new(service, guard)),
            None => Self::Bare(service),
        }
    }
}

impl<S, R> Service<Request<Incoming>> for Front<S>
where
    S: Service<Request<Body<Incoming>>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    type Response = Response<Body<R>>;
    type Error = S::Error;
    type Future = Call<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self {
            Self::Guarded(service) => service.poll_ready(cx),
            Self::Bare(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request<Incoming>) -> Call<S> {
        match self {
            Self::Guarded(service) => Call::Guarded {
                future: service.call(request),
            },
            Self::Bare(service) => Call::Bare {
                future: service.call(request.map(Body::new)),
            },
        }
    }
}

impl<S> Call<S>
where
    S: Service<Request<Body<Incoming>>>,
{
    /// Whether the guard has refused it, and the answer waits for what the client still sends.
    pub(super) fn is_refused(self: Pin<&mut Self>) -> bool {
        match self.project() {
            CallProj::Guarded { future } => future.is_refused(),
            CallProj::Bare { .. } => false,
        }
    }
}

impl<S, R> Future for Call<S>
where
    S: Service<Request<Body<Incoming>>, Response = Response<R>> + Clone,
    R: http_body::Body<Data = Bytes>,
{
    type Output = Result<Response<Body<R>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            CallProj::Guarded { future } => future.poll(cx),
            CallProj::Bare { future } => future.poll(cx).map_ok(|response| response.map(Body::new)),
        }
    }
}
