use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::PATIENCE;

/// The rounds in which a task reports to the server what was sent.
#[derive(Debug, Default)]
pub(in crate::rate) struct Rounds {
    urgent: Notify,
    done: watch::Sender<u64>,
}

impl Rounds {
    /// Has the next round begin at once.
    pub(in crate::rate) fn hurry(&self) {
        self.urgent.notify_one();
    }

    /// Waits for the next round: until then, or earlier if it is wanted.
    pub(super) async fn next(&self, then: Instant) {
        let _ = timeout_at(then, self.urgent.notified()).await;
    }

    /// A round is done.
    pub(super) fn done(&self) {
        self.done.send_modify(|done| *done += 1);
    }

    /// Waits until everything that was sent before is reported; not for long, if the server does not answer.
    pub(in crate::rate) async fn flush(&self) {
        let mut done = self.done.subscribe();
        let told = async {
            // The current one may have begun before.
            for _ in 0..2 {
                self.hurry();
                if done.changed().await.is_err() {
                    return;
                }
            }
        };
        let patience: Duration = 2 * PATIENCE;
        if timeout(patience, told).await.is_err() {
            tracing::warn!("the fleet's server could not be told what was sent last");
        }
    }
}
