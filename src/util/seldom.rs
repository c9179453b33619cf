use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a message is held back after it was logged.
const PAUSE: Duration = Duration::from_secs(60);

/// Lets a message pass once a minute, so that a flood of its causes is no flood of the log.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether the message may be logged now. If so, it counts as logged.
    pub(crate) fn may(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = last.is_none_or(|last| now.duration_since(last) >= PAUSE);
        if may {
            *last = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_passes_once_a_minute() {
        let seldom = Seldom::default();
        assert!(seldom.may());
        assert!(!seldom.may());
        tokio::time::advance(PAUSE).await;
        assert!(seldom.may());
        assert!(!seldom.may());
    }
}
