use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body::Body;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use crate::connection::{LONGEST_UNREAD, MOST_UNREAD};
use crate::responder::is_grpc;

/// How much of the body of a request that is answered early is read and dropped.
pub(crate) const MOST: u64 = MOST_UNREAD as u64;

/// After so many frames other tasks have their turn: a client may send frames without a byte in them.
const FRAMES_A_POLL: u32 = 64;

/// What the head of a request says about how it is answered while its body is on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    version: Version,
    /// Whether the client sends the body only when it is asked for it (RFC 9110 §10.1.1).
    expects: bool,
    /// Whether the client takes an answer at any time, and may leave its body open for as long as the call is.
    is_grpc: bool,
}

/// What is done with the rest of the body of a request that is answered early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is none.
    Ended,
    /// It is read and dropped before the answer, so that the client has sent it and looks for the answer, and
    /// the connection stays good for the next request.
    Drained,
    /// It is not read.
    Left,
}

impl Manner {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        Self {
            version: request.version(),
            expects: request.version() >= Version::HTTP_11 && expects_continue(request.headers()),
            is_grpc: is_grpc(request.headers()),
        }
    }

    /// The same client after its body was asked for.
    pub(super) fn asked_for_the_body(mut self) -> Self {
        self.expects = false;
        self
    }

    #[inline]
    pub(super) fn rest<B: Body>(self, body: &B) -> Rest {
        if body.is_end_stream() {
            Rest::Ended
        } else if self.expects || self.is_grpc || body.size_hint().lower() > MOST {
            Rest::Left
        } else {
            Rest::Drained
        }
    }

    pub(super) fn announce_close(self, headers: &mut HeaderMap) {
        announce_close(self.version, headers);
    }
}

/// Announces on HTTP/1 that the connection ends with this answer, since the next request cannot be found
/// behind a body that was not read (RFC 9112 §9.3, §9.6). The streams of HTTP/2 end by themselves.
pub(crate) fn announce_close(version: Version, headers: &mut HeaderMap) {
    if version <= Version::HTTP_11 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    let values = headers.get_all(EXPECT).iter();
    let mut expectations = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    expectations.any(|one| one.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
}

/// Reads the rest of a body and drops each frame at once. Ready with whether the body came to its end within
/// the bounds.
pub(crate) struct Drain<B> {
    body: Pin<Box<B>>,
    left: u64,
    /// Made when there is something to wait for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B: Body> Drain<B> {
    pub(crate) fn new(body: B) -> Self {
        Self {
            body: Box::pin(body),
            left: MOST,
            deadline: None,
        }
    }

    /// Reads from now on for as long as a drain may take, however much comes.
    #[cfg(feature = "serve")]
    pub(crate) fn for_its_time(self) -> Self {
        Self {
            left: u64::MAX,
            deadline: None,
            ..self
        }
    }

    /// Polls for the end; `seen` gets the length of each piece of data.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut seen: impl FnMut(&mut B::Data),
    ) -> Poll<bool> {
        for _ in 0..FRAMES_A_POLL {
            match self.body.as_mut().poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                // The client is gone, or what it sent cannot be read.
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(mut data) = frame.into_data() else {
                        continue;
                    };
                    let length = data.remaining() as u64;
                    seen(&mut data);
                    match self.left.checked_sub(length) {
                        Some(left) => self.left = left,
                        None => return Poll::Ready(false),
                    }
                    // A body of a known length says so before it is polled for its end.
                    if self.body.is_end_stream() {
                        return Poll::Ready(true);
                    }
                }
                Poll::Pending => return self.poll_deadline(cx),
            }
        }
        let over = self.poll_deadline(cx);
        if over.is_pending() {
            cx.waker().wake_by_ref();
        }
        over
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.deadline.is_none() {
            // Without Tokio's timers nothing bounds the wait.
            if Handle::try_current().is_err() {
                return Poll::Ready(false);
            }
            self.deadline = Some(Box::pin(sleep(LONGEST_UNREAD)));
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx).map(|()| false),
            None => Poll::Ready(false),
        }
    }
}

impl<B> fmt::Debug for Drain<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
