use std::sync::Arc;

use redis::RedisError;
use tokio::time::Instant;

use super::Unreachable;
use crate::telemetry::metrics;

/// Whether a server answers, for the log and the metrics.
#[derive(Debug)]
pub(super) struct Health {
    limit: Arc<str>,
    kind: &'static str,
    lost: Option<Instant>,
    told: u64,
}

impl Health {
    /// Of what shares a limit's `kind`, a rate or a quota.
    pub(super) fn new(limit: Arc<str>, kind: &'static str) -> Self {
        Self {
            limit,
            kind,
            lost: None,
            told: 0,
        }
    }

    pub(super) fn limit(&self) -> &str {
        &self.limit
    }

    /// The server has answered; whether it had not before.
    pub(super) fn answered(&mut self) -> bool {
        self.count();
        metrics::fleet_reachable(&self.limit, self.kind, true);
        let back = self.lost.take().is_some();
        if back {
            tracing::info!(limit = &*self.limit, "the fleet's server is back");
        }
        back
    }

    /// The server has not answered; whether it had before.
    pub(super) fn failed(&mut self, error: &RedisError, choice: Unreachable) -> bool {
        metrics::fleet_reachable(&self.limit, self.kind, false);
        if self.lost.is_some() {
            self.count();
            return false;
        }
        (self.lost, self.told) = (Some(Instant::now()), 0);
        // Not the error's text, in which an address may be, and what stands with it.
        let kind = error.kind();
        tracing::error!(
            limit = &*self.limit,
            ?kind,
            unreachable = ?choice,
            "the fleet's server cannot be reached"
        );
        true
    }

    /// Counts the full seconds since the loss.
    fn count(&mut self) {
        let seconds = self.lost.map_or(0, |since| since.elapsed().as_secs());
        let more = seconds.saturating_sub(self.told);
        metrics::fleet_unreachable(&self.limit, self.kind, more);
        self.told += more;
    }
}
