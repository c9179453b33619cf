use std::collections::VecDeque;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::headers;
use super::in_flight::Held;

/// For how long the head of an answer waits for the beginning of its body: one that is broken there is
/// answered for, and not cut. A peer of a mirror gives up on a head after 100 ms.
const BEGINNING: Duration = Duration::from_millis(20);

/// For how long a cut waits for what came before it: an error takes along what is not sent yet, the head too.
const BEFORE_CUT: Duration = Duration::from_millis(50);

pin_project! {
    /// The body of an answer: the registry's, or that of a problem.
    #[project = ProxyBodyProj]
    pub(crate) enum ProxyBody {
        Upstream {
            #[pin]
            body: Received,
        },
        Problem {
            #[pin]
            body: Full<Bytes>,
        },
    }
}

pin_project! {
    /// The registry's body, which ends with an error when nothing comes of it for too long.
    pub(crate) struct Received {
        #[pin]
        inner: Incoming,
        // What was read of it before the head was passed on.
        ahead: VecDeque<Frame<Bytes>>,
        ended: bool,
        cut: Option<hyper::Error>,
        #[pin]
        deadline: Sleep,
        waiting: bool,
        stall: Duration,
        // Until the body has ended, as far as its own side is concerned.
        held: Option<Arc<Held>>,
    }
}

pin_project! {
    /// The client's body on its way to the registry.
    #[derive(Debug)]
    pub(crate) struct Sent<B> {
        #[pin]
        inner: Option<B>,
        progress: Arc<Progress>,
        // By which the registry knows who asks.
        principal_header: Option<HeaderName>,
        // An answer may end before the request does, whose connection is open until then.
        held: Arc<Held>,
    }
}

/// Why a registry's body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("nothing came from the registry for {0:?}")]
    Stalled(Duration),
    #[error("the registry's answer was cut")]
    Cut(#[source] hyper::Error),
}

/// How far a request's body has come, for the deadline of the answer's head: the time in which the client is
/// waited for is not the registry's.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    /// The last frame, in milliseconds since the beginning.
    moved: AtomicU64,
    client_waited_for: AtomicBool,
    client_failed: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            client_waited_for: AtomicBool::new(false),
            client_failed: AtomicBool::new(false),
        })
    }

    /// Whether the client's body ended in an error.
    pub(super) fn client_failed(&self) -> bool {
        self.client_failed.load(Ordering::Acquire)
    }

    /// Awaits `answer`; `None` once the registry has taken nothing, and said nothing, for `limit`.
    pub(super) async fn within<F: Future>(&self, limit: Duration, answer: F) -> Option<F::Output> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let due = self.due(limit);
            tokio::select! {
                biased;
                answered = &mut answer => return Some(answered),
                () = sleep_until(due) => {
                    if self.due(limit) <= Instant::now() {
                        return None;
                    }
                }
            }
        }
    }

    fn due(&self, limit: Duration) -> Instant {
        if self.client_waited_for.load(Ordering::Acquire) {
            return Instant::now() + limit;
        }
        self.began + Duration::from_millis(self.moved.load(Ordering::Acquire)) + limit
    }

    fn waits(&self) {
        self.client_waited_for.store(true, Ordering::Release);
    }

    fn moves(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Release);
        self.client_waited_for.store(false, Ordering::Release);
    }
}

impl<B> Sent<B> {
    pub(super) fn new(
        body: B,
        progress: Arc<Progress>,
        principal_header: Option<HeaderName>,
        held: Arc<Held>,
    ) -> Self {
        Self {
            inner: Some(body),
            progress,
            principal_header,
            held,
        }
    }

    pub(super) fn empty(progress: Arc<Progress>, held: Arc<Held>) -> Self {
        Self {
            inner: None,
            progress,
            principal_header: None,
            held,
        }
    }
}

impl<B> Body for Sent<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let own = this.principal_header.as_ref();
        let polled = inner.poll_frame(cx).map_ok(|frame| cleaned(frame, own));
        match &polled {
            Poll::Pending => this.progress.waits(),
            Poll::Ready(frame) => {
                if let Some(Err(_)) = frame {
                    this.progress.client_failed.store(true, Ordering::Release);
                }
                this.progress.moves();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// A frame as it is passed on.
fn cleaned(frame: Frame<Bytes>, principal_header: Option<&HeaderName>) -> Frame<Bytes> {
    let trailers = frame.into_trailers().map(|mut trailers| {
        headers::clean_trailers(&mut trailers, principal_header);
        Frame::trailers(trailers)
    });
    trailers.unwrap_or_else(|frame| frame)
}

impl Received {
    pub(super) fn new(inner: Incoming, stall: Duration, held: Arc<Held>) -> Self {
        Self {
            inner,
            ahead: VecDeque::new(),
            ended: false,
            cut: None,
            deadline: sleep_until(Instant::now()),
            waiting: false,
            stall,
            held: Some(held),
        }
    }

    /// Reads the beginning, which in most answers has come with the head.
    pub(super) async fn begin(&mut self) {
        let until = Instant::now() + BEGINNING;
        // One frame more than the first, since what breaks off often has sent a part.
        while self.ahead.len() < 2 && !self.inner.is_end_stream() {
            match timeout_at(until, self.inner.frame()).await {
                Err(_) => break,
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Ok(Some(Ok(frame))) => self.ahead.push_back(cleaned(frame, None)),
                Ok(Some(Err(error))) => {
                    self.cut = Some(error);
                    self.deadline = sleep_until(Instant::now() + BEFORE_CUT);
                    break;
                }
            }
        }
    }

    /// Takes the error by which it was cut, if it was.
    pub(super) fn take_cut(&mut self) -> Option<ReceiveError> {
        self.cut.take().map(ReceiveError::Cut)
    }

    fn read_ahead(&self) -> u64 {
        let data = self.ahead.iter().filter_map(Frame::data_ref);
        data.map(|data| data.len() as u64).sum()
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = ReceiveError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        if let Some(frame) = this.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if *this.ended {
            return Poll::Ready(None);
        }
        if this.cut.is_none() {
            // First, so that a client which was slow to ask finds what had come meanwhile.
            match this.inner.poll_frame(cx) {
                Poll::Pending => {}
                Poll::Ready(Some(Err(error))) => {
                    *this.cut = Some(error);
                    this.deadline.as_mut().reset(Instant::now() + BEFORE_CUT);
                }
                Poll::Ready(frame) => {
                    *this.waiting = false;
                    if frame.is_none() {
                        *this.held = None;
                    }
                    let frame = frame.map(|frame| frame.map(|frame| cleaned(frame, None)));
                    return Poll::Ready(frame.map(|frame| frame.map_err(ReceiveError::Cut)));
                }
            }
        }
        if this.cut.is_some() {
            ready!(this.deadline.poll(cx));
            *this.ended = true;
            return Poll::Ready(this.cut.take().map(|error| Err(ReceiveError::Cut(error))));
        }
        if !*this.waiting {
            *this.waiting = true;
            this.deadline.as_mut().reset(Instant::now() + *this.stall);
        }
        this.deadline
            .poll(cx)
            .map(|()| Some(Err(ReceiveError::Stalled(*this.stall))))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty() && self.cut.is_none() && (self.ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let (held, rest) = (self.read_ahead(), self.inner.size_hint());
        let mut all = SizeHint::new();
        all.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            all.set_upper(upper.saturating_add(held));
        }
        all
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = ReceiveError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project() {
            ProxyBodyProj::Upstream { body } => body.poll_frame(cx),
            ProxyBodyProj::Problem { body } => body
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream { body } => body.is_end_stream(),
            Self::Problem { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream { body } => body.size_hint(),
            Self::Problem { body } => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn the_time_for_a_head_begins_again_with_each_part_of_the_body() {
        let progress = Progress::new();
        let answer = async {
            for _ in 0..3 {
                sleep(LIMIT * 2 / 3).await;
                progress.moves();
            }
            sleep(LIMIT * 2 / 3).await;
        };
        assert_eq!(progress.within(LIMIT, answer).await, Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_for_a_head_ends_after_the_last_part() {
        let progress = Progress::new();
        sleep(LIMIT).await;
        progress.moves();
        let began = Instant::now();
        let silence = std::future::pending::<()>();
        assert_eq!(progress.within(LIMIT, silence).await, None);
        // The last part is noted in whole milliseconds.
        let waited = began.elapsed() + Duration::from_millis(1);
        assert!(waited >= LIMIT && waited < LIMIT * 2, "{waited:?}");
    }
}
