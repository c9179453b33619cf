use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Ends writing to a peer that takes nothing for too long.
#[derive(Debug)]
pub(crate) struct Stall {
    longest: Duration,
    stalled: bool,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(crate) fn new(longest: Duration) -> Self {
        Self {
            // So that a point of time after it is there on every clock.
            longest: longest.min(Duration::from_secs(24 * 60 * 60)),
            stalled: false,
            alarm: None,
        }
    }

    /// What has become of a write: what it became itself, or a failure after too long a wait.
    pub(crate) fn check<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        let end = Instant::now() + self.longest;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(end)));
        if !self.stalled {
            self.stalled = true;
            alarm.as_mut().reset(end);
        }
        if alarm.as_mut().poll(cx).is_ready() {
            tracing::info!("the peer has taken nothing for too long, closing its connection");
            let error = "the peer has taken nothing for too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
        }
        Poll::Pending
    }
}
