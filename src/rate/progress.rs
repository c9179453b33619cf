use std::time::Duration;

use tokio::time::Instant;

use super::limits::MinProgress;

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

    /// Whether the reader was too slow up to the last question.
    pub(super) fn is_too_slow(&mut self) -> bool {
        if self.slow < self.least.window {
            return false;
        }
        let slow = u128::from(self.sent) < self.due(self.slow);
        (self.sent, self.slow) = (0, Duration::ZERO);
        slow
    }

    /// Whether the reader is too slow by now, asked or not. One that has taken nothing for a window is,
    /// however fast it was before.
    pub(super) fn is_stalled(&mut self) -> bool {
        let waited = self.yielded.map_or(Duration::ZERO, |at| at.elapsed());
        if waited >= self.least.window {
            return true;
        }
        let slow = self.slow + waited;
        slow >= self.least.window && u128::from(self.sent) < self.due(slow)
    }

    /// How soon it is worth while to look again.
    pub(super) fn pause(&self) -> Duration {
        (self.least.window / 8).clamp(Duration::from_millis(20), Duration::from_secs(5))
    }

    /// How many bytes a reader takes at least in so long.
    fn due(&self, time: Duration) -> u128 {
        time.as_nanos() * u128::from(self.least.rate) / 1_000_000_000
    }
}
