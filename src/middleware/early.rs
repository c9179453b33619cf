use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::drain::{Drain, Manner, Rest};

/// Deals with what clients are still sending when a service answers before it has read their body, so that the
/// answer arrives and the connection is not closed unannounced.
///
/// A service that refuses an upload by its head (a wrong digest, a manifest that is too long) drops the body, and
/// the server then closes the connection while the client is writing to it: many clients see a broken connection
/// and never the answer. This layer reads and drops up to 256 KiB of such a body for at most two seconds, holds one
/// frame at a time, and then lets the answer go; where there is more, or the client waits to be asked for its
/// body, the answer says `Connection: close` over HTTP/1. The layers of this crate and [`Guard`](crate::Guard) do the same for
/// what they refuse themselves; this is for the service behind them.
///
/// ```
/// use std::convert::Infallible;
///
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use portcullis::middleware::{DrainLayer, EarlyBody};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Infallible> {
/// let service = ServiceBuilder::new().layer(DrainLayer::new()).service_fn(
///     async |_: Request<EarlyBody<Full<Bytes>>>| {
///         Ok::<_, Infallible>(Response::new("not here".to_owned()))
///     },
/// );
/// let upload = Request::new(Full::new(Bytes::from_static(b"0123456789")));
/// let response = service.oneshot(upload).await?;
/// assert!(!response.headers().contains_key("connection")); // All of it was read.
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainLayer(());

/// The service of [`DrainLayer`].
#[derive(Clone, Debug)]
pub struct AnsweredEarly<S> {
    inner: S,
}

/// The body of the requests behind a [`DrainLayer`]. Dropped before its end, it goes back to the layer.
pub struct EarlyBody<B: Body> {
    body: Option<B>,
    polled: bool,
    /// Whether the body has ended, by its end or a failure: nothing is left of it then.
    over: bool,
    back: Option<Arc<Returned<B>>>,
}

/// What is left of a body, and whether it was polled.
type Returned<B> = Mutex<Option<(B, bool)>>;

pin_project! {
    /// The future of [`AnsweredEarly`].
    ///
    /// # Panics
    /// When it is polled after it was ready.
    pub struct EarlyFuture<F, B, R> {
        #[pin]
        state: State<F, B, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B, R> {
        Called {
            #[pin]
            future: F,
            back: Option<Arc<Returned<B>>>,
            manner: Manner,
        },
        // Boxed, since it is rare.
        Draining {
            draining: Option<Box<Draining<B, R>>>,
        },
        Done,
    }
}

/// An answer whose client is still sending.
struct Draining<B, R> {
    drain: Drain<B>,
    manner: Manner,
    response: Response<R>,
}

impl DrainLayer {
    /// Drains up to 256 KiB for at most two seconds.
    pub fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = AnsweredEarly<S>;

    fn layer(&self, inner: S) -> AnsweredEarly<S> {
        AnsweredEarly::new(inner)
    }
}

impl<S> AnsweredEarly<S> {
    /// Puts `inner` behind [`DrainLayer::new`].
    pub fn new(inner: S) -> Self {
        Self { inner }
    }

    crate::util::inner_service::accessors!();
}

impl<S, B, R> Service<Request<B>> for AnsweredEarly<S>
where
    S: Service<Request<EarlyBody<B>>, Response = Response<R>>,
    // A body moves out of the request when the service drops it.
    B: Body + Unpin,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = EarlyFuture<S::Future, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let manner = Manner::of(&request);
        let back = (!request.body().is_end_stream()).then(Arc::default);
        let request = request.map(|body| EarlyBody {
            body: Some(body),
            polled: false,
            over: false,
            back: back.clone(),
        });
        EarlyFuture {
            state: State::Called {
                future: self.inner.call(request),
                back,
                manner,
            },
        }
    }
}

impl<F, B, R, E> Future for EarlyFuture<F, B, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    B: Body,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Called {
                    future,
                    back,
                    manner,
                } => {
                    let answered = ready!(future.poll(cx));
                    let (back, manner) = (back.take(), *manner);
                    // What the service kept of the body comes back with its future.
                    state.set(State::Done);
                    let mut response = answered?;
                    let left = back.and_then(|back| {
                        back.lock().unwrap_or_else(PoisonError::into_inner).take()
                    });
                    let Some((body, polled)) = left else {
                        return Poll::Ready(Ok(response));
                    };
                    let asked = manner.asked_for_the_body();
                    let manner = if polled { asked } else { manner };
                    match manner.rest(&body) {
                        Rest::Ended => return Poll::Ready(Ok(response)),
                        Rest::Left => {
                            manner.announce_close(response.headers_mut());
                            return Poll::Ready(Ok(response));
                        }
                        Rest::Drained => state.set(State::Draining {
                            draining: Some(Box::new(Draining {
                                drain: Drain::new(body),
                                manner,
                                response,
                            })),
                        }),
                    }
                }
                StateProj::Draining { draining } => {
                    let Some(mut early) = draining.take() else {
                        state.set(State::Done);
                        continue;
                    };
                    let Poll::Ready(ended) = early.drain.poll(cx, |_| {}) else {
                        *draining = Some(early);
                        return Poll::Pending;
                    };
                    let Draining {
                        manner,
                        mut response,
                        drain,
                    } = *early;
                    drop(drain);
                    if !ended {
                        manner.announce_close(response.headers_mut());
                    }
                    state.set(State::Done);
                    return Poll::Ready(Ok(response));
                }
                StateProj::Done => panic!("`EarlyFuture` polled after completion"),
            }
        }
    }
}

impl<B: Body + Unpin> Body for EarlyBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.polled = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(polled, Some(Ok(_))) {
            self.over = true;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::new, Body::size_hint)
    }
}

impl<B: Body> Drop for EarlyBody<B> {
    fn drop(&mut self) {
        let Some((body, back)) = self.body.take().zip(self.back.take()) else {
            return;
        };
        if !self.over && !body.is_end_stream() {
            *back.lock().unwrap_or_else(PoisonError::into_inner) = Some((body, self.polled));
        }
    }
}

impl<B: Body + fmt::Debug> fmt::Debug for EarlyBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EarlyBody").field(&self.body).finish()
    }
}

impl<F, B, R> fmt::Debug for EarlyFuture<F, B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlyFuture").finish_non_exhaustive()
    }
}
