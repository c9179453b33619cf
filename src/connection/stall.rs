use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::util::deadline::Deadline;

/// Ends writing to a peer that takes nothing for too long.
#[derive(Debug)]
pub(crate) struct Stall {
    longest: Duration,
    /// Since when the peer has taken nothing.
    since: Option<Instant>,
    deadline: Deadline,
}

impl Stall {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            // So that a point of time after it is there on every clock.
            longest: longest.min(Duration::from_secs(24 * 60 * 60)),
            since: None,
            deadline: Deadline::default(),
        }
    }

    /// What has become of a write: what it became itself, or a failure after too long a wait.
    pub(crate) fn check<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.since = None;
            return written;
        }
        let end = *self.since.get_or_insert_with(Instant::now) + self.longest;
        if self.deadline.poll(cx, end).is_ready() {
            tracing::info!("the peer has taken nothing for too long, closing its connection");
            let error = "the peer has taken nothing for too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
        }
        Poll::Pending
    }
}
