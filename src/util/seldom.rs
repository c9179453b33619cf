use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets a message pass once in a pause, so that a flood of its causes is no flood of the log.
#[derive(Debug)]
pub(crate) struct Seldom {
    pause: Duration,
    /// When the message was logged last, and how often its cause came since.
    last: Mutex<Option<(Instant, u64)>>,
}

impl Seldom {
    /// Lets a message pass again when this time has gone by since the last.
    pub(crate) const fn every(pause: Duration) -> Self {
        let last = Mutex::new(None);
        Self { pause, last }
    }

    /// Returns whether the message may be logged now, as how often it was held back before. If so, it counts
    /// as logged.
    pub(crate) fn allow(&self) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &mut *last {
            Some((logged, since)) if now.duration_since(*logged) < self.pause => {
                *since += 1;
                None
            }
            last => {
                let since = last.map_or(0, |(_, since)| since);
                *last = Some((now, 0));
                Some(since)
            }
        }
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self::every(Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_logged_once_in_a_pause_and_counted() {
        let pause = Duration::from_secs(10);
        let seldom = Seldom::every(pause);
        assert_eq!(seldom.allow(), Some(0));
        assert!((0..100).all(|_| seldom.allow().is_none()));
        tokio::time::advance(pause).await;
        assert_eq!(seldom.allow(), Some(100));
        assert_eq!(seldom.allow(), None);
    }
}
