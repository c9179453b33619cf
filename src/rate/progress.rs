use std::time::Duration;

use tokio::time::Instant;

use super::MinProgress;

/// How fast a reader takes what it could have.
#[derive(Debug)]
pub(super) struct Progress {
    least: MinProgress,
    sent: u64,
    slow: Duration,
    yielded: Option<Instant>,
}

impl Progress {
    pub(super) fn new(least: MinProgress) -> Self {
        Self {
            least,
            sent: 0,
            slow: Duration::ZERO,
            yielded: None,
        }
    }

    /// What passes between a frame and the next question is the reader's time; what passes between
    /// a question and its frame is not.
    pub(super) fn polled(&mut self) {
        if let Some(yielded) = self.yielded.take() {
            self.slow += yielded.elapsed();
        }
    }

    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
        self.yielded = Some(Instant::now());
    }

    pub(super) fn is_too_slow(&mut self) -> bool {
        if self.slow < self.least.window {
            return false;
        }
        let due = self.slow.as_nanos() * u128::from(self.least.rate) / 1_000_000_000;
        let slow = u128::from(self.sent) < due;
        (self.sent, self.slow) = (0, Duration::ZERO);
        slow
    }
}
