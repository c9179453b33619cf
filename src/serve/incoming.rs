use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming as HyperBody;
use tokio::time::Instant;

use crate::telemetry::metrics;
use crate::util::deadline::Deadline;

/// The body of a request as it comes from the client. It fails where the client is silent for too long or
/// sends too little in the time in which it is waited for; the time in which the service, or a limit, asks for
/// nothing does not count.
#[derive(Debug)]
pub struct Incoming {
    inner: Option<HyperBody>,
    patience: Patience,
    unread: Option<Arc<Unread>>,
}

/// Why the body of a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IncomingError {
    /// The connection failed, or what came is no body of its protocol.
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    /// Nothing came for this long.
    #[error("the client sent nothing of the request's body for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// Too little came.
    #[error("of the request's body the client sent fewer than {bytes} bytes in {} s", window.as_secs_f32())]
    Slow {
        /// The number of bytes that must come in the window.
        bytes: u64,
        /// The time in which they must come.
        window: Duration,
    },
}

/// How long a request's body is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyDeadlines {
    /// For anything of it.
    pub(super) silence: Duration,
    /// For so many bytes of it.
    pub(super) bytes: u64,
    pub(super) window: Duration,
}

#[derive(Debug)]
struct Patience {
    deadlines: BodyDeadlines,
    /// Since when the client is waited for.
    since: Option<Instant>,
    /// Waited for in this window before that.
    waited: Duration,
    /// What came in this window.
    came: u64,
    deadline: Deadline,
}

/// What the service left of a request's body.
#[derive(Debug, Default)]
pub(super) struct Unread {
    body: Mutex<Option<HyperBody>>,
    /// Whether the client waits to be asked for it: `Expect: 100-continue`.
    awaits_asking: AtomicBool,
    /// Whether it failed, so that nothing can be read after it.
    failed: AtomicBool,
}

impl Incoming {
    /// The body of a request with these headers, and where what the service leaves of it will be. A request
    /// without a body leaves nothing.
    pub(super) fn new(
        body: HyperBody,
        headers: &HeaderMap<HeaderValue>,
        deadlines: BodyDeadlines,
    ) -> (Self, Option<Arc<Unread>>) {
        let unread = (!body.is_end_stream()).then(|| {
            Arc::new(Unread {
                body: Mutex::default(),
                awaits_asking: headers.contains_key(EXPECT).into(),
                failed: false.into(),
            })
        });
        let incoming = Self {
            inner: Some(body),
            patience: Patience::new(deadlines),
            unread: unread.clone(),
        };
        (incoming, unread)
    }

    fn failed(&mut self, error: IncomingError) -> IncomingError {
        // Nothing more comes, and nothing is left to be drained.
        self.inner = None;
        if let Some(unread) = &self.unread {
            unread.failed.store(true, Ordering::Relaxed);
        }
        error
    }
}

impl Unread {
    /// What is left.
    pub(super) fn take(&self) -> Left {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        let body = { body }.take();
        match body {
            Some(body) if self.awaits_asking.load(Ordering::Relaxed) => Left::Unasked(body),
            Some(body) => Left::Body(body),
            None if self.failed.load(Ordering::Relaxed) => Left::Lost,
            None => Left::Nothing,
        }
    }
}

/// What the service left of a request's body.
#[derive(Debug)]
pub(super) enum Left {
    Nothing,
    /// It failed.
    Lost,
    /// The client was not asked for it, and may send it or not.
    Unasked(HyperBody),
    Body(HyperBody),
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = IncomingError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, IncomingError>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        if let Some(unread) = &this.unread {
            unread.awaits_asking.store(false, Ordering::Relaxed);
        }
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match this.patience.came(length) {
                    Ok(()) => Poll::Ready(Some(Ok(frame))),
                    Err(error) => Poll::Ready(Some(Err(this.failed(error)))),
                }
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(this.failed(IncomingError::Hyper(error)))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match this.patience.poll(cx) {
                Poll::Ready(error) => Poll::Ready(Some(Err(this.failed(error)))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HyperBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref();
        inner.map_or_else(SizeHint::new, HyperBody::size_hint)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let (Some(unread), Some(body)) = (&self.unread, self.inner.take())
            && !body.is_end_stream()
        {
            let left = unread.body.lock();
            *left.unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl Patience {
    fn new(deadlines: BodyDeadlines) -> Self {
        Self {
            deadlines,
            since: None,
            waited: Duration::ZERO,
            came: 0,
            deadline: Deadline::default(),
        }
    }

    /// Notes that so many bytes came. A window ends with the bytes that it asks for.
    fn came(&mut self, bytes: usize) -> Result<(), IncomingError> {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.came += bytes as u64;
        if self.came >= self.deadlines.bytes {
            self.came = 0;
            self.waited = Duration::ZERO;
        } else if self.waited >= self.deadlines.window {
            return Err(self.slow());
        }
        Ok(())
    }

    /// Notes that the client is waited for, and polls for the end of that.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<IncomingError> {
        let BodyDeadlines {
            silence, window, ..
        } = self.deadlines;
        let left = window.saturating_sub(self.waited);
        let since = *self.since.get_or_insert_with(Instant::now);
        // No sooner than when the client was waited for before: what it was waited for then is over.
        let end = since + silence.min(left);
        if self.deadline.poll(cx, end).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(if silence <= left {
            metrics::body_timed_out("silent");
            IncomingError::Silent(silence)
        } else {
            self.slow()
        })
    }

    fn slow(&self) -> IncomingError {
        metrics::body_timed_out("slow");
        IncomingError::Slow {
            bytes: self.deadlines.bytes,
            window: self.deadlines.window,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A client that is waited for.
    struct Client(Patience);

    impl Client {
        /// At least 100 bytes in 20 s, and something in 15 s.
        fn new() -> Self {
            Self::silent_for(15)
        }

        fn silent_for(seconds: u32) -> Self {
            Self(Patience::new(BodyDeadlines {
                silence: SECOND * seconds,
                bytes: 100,
                window: SECOND * 20,
            }))
        }

        /// Sends so many bytes after so many seconds.
        async fn sends(&mut self, bytes: usize, seconds: u32) -> Result<(), IncomingError> {
            poll_fn(|cx| {
                assert!(self.0.poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            advance(SECOND * seconds).await;
            self.0.came(bytes)
        }

        /// Sends nothing more. Returns what is wrong with that, and after how many seconds.
        async fn ends(&mut self) -> (IncomingError, u64) {
            let begun = Instant::now();
            let error = poll_fn(|cx| self.0.poll(cx)).await;
            (error, begun.elapsed().as_secs())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_ends_with_its_bytes_and_begins_anew() {
        let mut client = Client::new();
        for _ in 0..3 {
            client.sends(1, 14).await.unwrap();
            client.sends(99, 6).await.unwrap();
        }
        client.sends(1, 14).await.unwrap();
        let error = client.sends(98, 6).await.unwrap_err();
        assert!(
            matches!(error, IncomingError::Slow { bytes: 100, .. }),
            "{error}"
        );
        // The time in which the client is not waited for does not count.
        let mut client = Client::new();
        client.sends(1, 14).await.unwrap();
        advance(SECOND * 100).await;
        client.sends(1, 5).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_waited_for_until_the_end_of_its_window_or_of_its_silence() {
        let (error, seconds) = Client::new().ends().await;
        assert!(
            matches!(error, IncomingError::Silent(_)) && seconds == 15,
            "{error}"
        );
        let mut client = Client::new();
        client.sends(1, 14).await.unwrap();
        let (error, seconds) = client.ends().await;
        assert!(
            matches!(error, IncomingError::Slow { .. }) && seconds == 6,
            "{error}"
        );
        // At the same time it is silence, of which less is said.
        let (error, seconds) = Client::silent_for(20).ends().await;
        assert!(
            matches!(error, IncomingError::Silent(_)) && seconds == 20,
            "{error}"
        );
    }
}
