use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;

#[cfg(feature = "redis")]
use super::fleet::Rounds;
use super::key_limiter::KeyLimiter;
use super::parameters::Parameters;
use super::starter::Starter;

/// A rate that others share, as far as it is this process's now.
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "only a fleet makes leases")
)]
#[derive(Debug)]
pub(super) struct Lease {
    parameters: ArcSwap<Parameters>,
    // Shared with the lease that takes its place, so that the sum never goes back.
    sent: Arc<AtomicU64>,
    refusing: AtomicBool,
    limiter: Arc<KeyLimiter>,
    starter: Starter<Self>,
    #[cfg(feature = "redis")]
    rounds: Arc<Rounds>,
}

#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "only a fleet makes leases")
)]
impl Lease {
    pub(super) fn new(
        parameters: Parameters,
        limiter: Arc<KeyLimiter>,
        sent: Arc<AtomicU64>,
        starter: Starter<Self>,
    ) -> Self {
        Self {
            starter,
            parameters: ArcSwap::from_pointee(parameters),
            sent,
            refusing: AtomicBool::new(false),
            limiter,
            #[cfg(feature = "redis")]
            rounds: Arc::default(),
        }
    }

    /// Starts the task that renews the lease, if it does not run.
    pub(super) fn start(self: &Arc<Self>) {
        self.starter.start(self);
    }

    /// The rate as it is now.
    pub(super) fn parameters(&self) -> Parameters {
        **self.parameters.load()
    }

    /// Counts bytes as sent.
    pub(super) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes as not sent after all.
    pub(super) fn unsent(&self, bytes: u64) {
        self.sent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether nothing may begin, because what is left is not known.
    pub(super) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "redis")]
impl Lease {
    /// How many bytes were sent so far.
    pub(super) fn total(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    pub(super) fn rounds(&self) -> Arc<Rounds> {
        Arc::clone(&self.rounds)
    }

    /// Waits until everything that was sent before is reported.
    pub(super) async fn flush(&self) {
        if self.starter.is_started() {
            self.rounds.flush().await;
        }
    }

    /// How many streams are here, and whether one waits.
    pub(super) fn load(&self) -> (usize, bool) {
        self.limiter.load()
    }

    /// Goes on at another rate.
    pub(super) fn set(&self, rate: u64, burst: u64, now: tokio::time::Instant) {
        let parameters = self.parameters();
        self.refusing.store(false, Ordering::Relaxed);
        self.parameters.store(Arc::new(Parameters {
            schedule: parameters.schedule.at_rate(rate.max(1), now),
            burst,
            shared: parameters.shared,
        }));
        // A stream that waits has set a timer by the old rate.
        self.limiter.kick();
    }

    /// Lets nothing begin, and holds what is in flight at next to no rate.
    pub(super) fn refuse(&self, now: tokio::time::Instant) {
        self.set(1, 1, now);
        self.refusing.store(true, Ordering::Relaxed);
    }
}

#[cfg(feature = "redis")]
impl Drop for Lease {
    fn drop(&mut self) {
        // The task reports what is left to report.
        self.rounds.hurry();
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::rate::schedule::Schedule;

    #[test]
    fn a_small_part_that_is_renewed_often_lets_its_bytes_pass_all_the_same() {
        let begin = Instant::now();
        let parameters = Parameters {
            schedule: Schedule::new(3, begin),
            burst: 1024,
            shared: false,
        };
        let lease = Lease::new(
            parameters,
            Arc::new(KeyLimiter::new(0)),
            Arc::default(),
            Starter::new(|_| {}),
        );
        for period in 1..=1000 {
            let now = begin + Duration::from_millis(100) * period;
            lease.set(3 + u64::from(period % 2), 1024, now);
        }
        let passed = lease
            .parameters()
            .schedule
            .position(begin + Duration::from_secs(100));
        assert_eq!(passed, 349);
    }
}
