use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How late the next stream may come before others are asked to look.
const PATIENCE: Duration = Duration::from_millis(8);

/// Wakes the next stream at a limiter when it is that stream's turn, and others if it does not come: its client
/// may have stopped reading.
#[derive(Debug)]
pub(super) struct Alarm {
    next: Pin<Box<Sleep>>,
    others: Pin<Box<Sleep>>,
    bell: Waker,
    set: Option<(usize, Instant)>,
}

impl Alarm {
    /// Makes one that wakes `bell` where others have to look.
    pub(super) fn new(bell: Waker, now: Instant) -> Self {
        Self {
            next: Box::pin(sleep_until(now)),
            others: Box::pin(sleep_until(now)),
            bell,
            set: None,
        }
    }

    /// Whether it is set for this stream and instant.
    pub(super) fn is_set(&self, stream: usize, when: Instant) -> bool {
        self.set == Some((stream, when))
    }

    /// Will wake `waker` at `when`. Whether that is now.
    pub(super) fn set(&mut self, stream: usize, when: Instant, waker: &Waker) -> bool {
        self.set = Some((stream, when));
        // New ones rather than resets: the old ones may belong to a runtime that is gone.
        self.others.set(sleep_until(when + PATIENCE));
        let bell = &mut Context::from_waker(&self.bell);
        // It cannot be that late already.
        let _ = self.others.as_mut().poll(bell);
        self.next.set(sleep_until(when));
        let cx = &mut Context::from_waker(waker);
        self.next.as_mut().poll(cx).is_ready()
    }
}
