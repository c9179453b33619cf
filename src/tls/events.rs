use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::HandshakeError;
use crate::Connection;
use crate::audit::metrics;

/// So many failures are told at once, and then one each [`EVERY`]. A flood of handshakes must not
/// fill a disk; the counters have them all.
const BURST: u32 = 50;
const EVERY: Duration = Duration::from_millis(200);

/// Tells of handshakes: each success at `debug`, failures at `warn` as far as the limit allows.
#[derive(Debug, Default)]
pub(super) struct Events(Mutex<Limit>);

#[derive(Debug)]
struct Limit {
    left: u32,
    since: Option<Instant>,
    untold: u64,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            left: BURST,
            since: None,
            untold: 0,
        }
    }
}

impl Limit {
    /// How many went untold before this one, if this one may be told.
    fn allow(&mut self, now: Instant) -> Option<u64> {
        let since = *self.since.get_or_insert(now);
        let earned = now.duration_since(since).as_nanos() / EVERY.as_nanos();
        if earned >= u128::from(BURST) {
            self.left = BURST;
            self.since = Some(now);
        } else if let Ok(earned) = u32::try_from(earned) {
            self.left = (self.left + earned).min(BURST);
            self.since = Some(since + EVERY * earned);
        }
        if self.left == 0 {
            self.untold += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.untold))
    }
}

impl Events {
    #[allow(clippy::unused_self, reason = "told without a limit today")]
    pub(super) fn accepted(&self, connection: &Connection, took: Duration) {
        metrics::handshaken("ok", took);
        tracing::debug!(
            connection = connection.id(),
            client = %connection.client_addr(),
            tls = ?connection.tls(),
            subject = connection.identity().map(crate::PeerIdentity::subject),
            "TLS handshake"
        );
    }

    pub(super) fn failed(&self, error: &HandshakeError, took: Duration) {
        metrics::handshaken(error.reason().label(), took);
        let mut limit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = limit.allow(Instant::now());
        drop(limit);
        let Some(untold) = allowed else {
            return;
        };
        tracing::warn!(
            peer = %error.peer(),
            server_name = error.server_name(),
            reason = error.reason().label(),
            alert = error.alert(),
            presented = error.presented(),
            path = error.path(),
            untold,
            "TLS handshake failed: {error}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_bursts_and_counted_meanwhile() {
        let start = Instant::now();
        let mut limit = Limit::default();
        let told = (0..1_000).filter(|_| limit.allow(start).is_some()).count();
        assert_eq!(told, BURST as usize);
        assert_eq!(limit.allow(start + EVERY), Some(1_000 - u64::from(BURST)));
        assert_eq!(limit.allow(start + EVERY), None);
        let later = start + Duration::from_hours(24 * 365 * 40);
        assert_eq!(
            (0..1_000).filter(|_| limit.allow(later).is_some()).count(),
            50
        );
    }
}
