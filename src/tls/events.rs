use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{HandshakeError, Reason};
use crate::Connection;
use crate::telemetry::metrics;

/// So many failures for one reason are logged at once, and then one each [`EVERY`]. A flood of handshakes
/// must not fill a disk, nor hide those that fail for another reason; the counters have them all.
const BURST: u32 = 20;
const EVERY: Duration = Duration::from_secs(1);
/// The number of events that were not logged is logged so long after the first of them.
const SUMMARY: Duration = Duration::from_secs(10);

/// An event has no more octets than about [`WORDS`], [`PRESENTED`] and [`PATH`] together, 4 KiB: the
/// client chooses what is in it.
const WORDS: usize = 1_024;
const PRESENTED: usize = 2_048;
const PATH: usize = 768;

/// Logs handshakes: each success at `debug`, failures at `warn` as far as the limits allow.
#[derive(Debug, Default)]
pub(super) struct Events(Arc<Mutex<HashMap<Reason, Limit>>>);

/// Of failures for one reason.
#[derive(Debug)]
struct Limit {
    left: u32,
    since: Option<Instant>,
    untold: u64,
    /// Whether a summary of the unlogged is due.
    awaited: bool,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            left: BURST,
            since: None,
            untold: 0,
            awaited: false,
        }
    }
}

impl Limit {
    /// How many were not logged before this one, if this one may be logged.
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

    /// Whether the caller must see to it that the number of unlogged events is logged.
    fn needs_summary(&mut self) -> bool {
        self.untold > 0 && !std::mem::replace(&mut self.awaited, true)
    }

    /// How many were not logged since the last summary.
    fn summary(&mut self) -> u64 {
        self.awaited = false;
        std::mem::take(&mut self.untold)
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
        let reason = error.reason();
        metrics::handshaken(reason.label(), took);
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = limits.entry(reason).or_default();
        let allowed = limit.allow(Instant::now());
        let needs_summary = limit.needs_summary();
        drop(limits);
        if needs_summary {
            tokio::spawn(summarise(Arc::clone(&self.0), reason));
        }
        let Some(untold) = allowed else {
            return;
        };
        let words = error.to_string();
        let (presented, path) = (error.presented(), error.path());
        tracing::warn!(
            peer = %error.peer(),
            server_name = error.server_name(),
            reason = reason.label(),
            alert = error.alert(),
            presented = presented.as_deref().map(|text| cut(text, PRESENTED)).as_deref(),
            path = path.as_deref().map(|text| cut(text, PATH)).as_deref(),
            untold,
            "TLS handshake failed: {}",
            cut(&words, WORDS)
        );
    }
}

/// Logs how many handshakes failed for a reason without an event.
async fn summarise(limits: Arc<Mutex<HashMap<Reason, Limit>>>, reason: Reason) {
    tokio::time::sleep(SUMMARY).await;
    let mut limits = limits.lock().unwrap_or_else(PoisonError::into_inner);
    let untold = limits.get_mut(&reason).map_or(0, Limit::summary);
    drop(limits);
    if untold > 0 {
        tracing::warn!(
            reason = reason.label(),
            untold,
            "{untold} more TLS handshakes failed for this reason"
        );
    }
}

/// At most so many octets of a text.
fn cut(text: &str, octets: usize) -> Cow<'_, str> {
    if text.len() <= octets {
        return text.into();
    }
    let end = (0..=octets).rev().find(|&at| text.is_char_boundary(at));
    format!("{}…", &text[..end.unwrap_or_default()]).into()
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
        assert!(limit.needs_summary() && !limit.needs_summary());
        assert_eq!((limit.summary(), limit.summary()), (1, 0));
        assert!(!limit.needs_summary());
        let later = start + Duration::from_secs(24 * 365 * 40 * 60 * 60);
        assert_eq!(
            (0..1_000).filter(|_| limit.allow(later).is_some()).count(),
            BURST as usize
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc…");
        assert_eq!(cut("aäöü", 4), "aä…");
    }
}
