use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Keys that could not be fetched.
pub(super) struct Failing {
    since: Instant,
    reason: String,
    pub(super) has_lapsed: bool,
}

impl Failing {
    pub(super) fn note(failing: &mut Option<Self>, reason: String) {
        let failing = failing.get_or_insert_with(|| Self {
            since: Instant::now(),
            reason: String::new(),
            has_lapsed: false,
        });
        failing.reason = reason;
    }

    /// What a future gives; meanwhile the keys end, once, when they could not be fetched for so long.
    pub(super) async fn watch<F: Future>(
        failing: &mut Option<Self>,
        stale_after: Option<Duration>,
        turn: F,
        end: impl FnOnce(&str),
    ) -> F::Output {
        let mut turn = pin!(turn);
        let end_at = |failing: &Self| failing.since.checked_add(stale_after?);
        if let Some(failing) = failing.as_mut().filter(|failing| !failing.has_lapsed)
            && let Some(end_at) = end_at(failing)
        {
            tokio::select! {
                outcome = &mut turn => return outcome,
                () = sleep_until(end_at) => {}
            }
            failing.has_lapsed = true;
            end(&failing.reason);
        }
        turn.await
    }
}
