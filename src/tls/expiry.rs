use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Expiry, Material, time};

/// How often the ends are looked at, in seconds.
const EVERY: u64 = 60;

/// Warns once at each distance before a certificate of ours ends. It is asked at handshakes, so it
/// needs no task of its own.
#[derive(Debug)]
pub(super) struct Warnings {
    /// The farthest first.
    distances: Vec<Duration>,
    /// When it is next worth to look, in seconds after 1970.
    next: AtomicU64,
    /// How many distances were passed by each certificate when it was last told of.
    told: Mutex<HashMap<Expiry, usize>>,
}

impl Warnings {
    pub(super) fn at(distances: impl IntoIterator<Item = Duration>) -> Self {
        let mut distances: Vec<_> = distances.into_iter().collect();
        distances.sort_unstable_by(|one, other| other.cmp(one));
        Self {
            distances,
            next: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// Looks at the ends, if it is time to.
    pub(super) fn look(&self, material: &Material) {
        let Some(now) = material.now() else {
            return;
        };
        let seconds = now.as_secs();
        let next = self.next.load(Ordering::Relaxed);
        // A clock that jumped back is no reason to keep silent until it has caught up.
        if (next.saturating_sub(EVERY)..next).contains(&seconds) {
            return;
        }
        self.next.store(seconds + EVERY, Ordering::Relaxed);
        for (expiry, left) in self.due(material.expiries(), time::system(now)) {
            let Expiry { kind, subject, .. } = &expiry;
            let not_after = time::date(expiry.not_after);
            let Some(left) = left else {
                tracing::error!(kind, %subject, not_after, "a certificate has expired");
                continue;
            };
            let left = time::words(left);
            tracing::warn!(kind, %subject, not_after, "a certificate ends in {left}");
        }
    }

    /// Those that passed a distance since they were last told of, with the time left.
    fn due(&self, expiries: &[Expiry], now: SystemTime) -> Vec<(Expiry, Option<Duration>)> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|known, _| expiries.contains(known));
        let mut due = Vec::new();
        for expiry in expiries {
            let left = expiry.not_after.duration_since(now).ok();
            let passed = |distance: &&Duration| left.is_none_or(|left| left <= **distance);
            let passed = self.distances.iter().filter(passed).count() + usize::from(left.is_none());
            let before = told.insert(expiry.clone(), passed).unwrap_or(0);
            if passed > before {
                due.push((expiry.clone(), left));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distance_is_told_once_for_each_certificate() {
        let day = Duration::from_hours(24);
        let end = SystemTime::UNIX_EPOCH + day * 1_000;
        let expiry = |end| Expiry {
            kind: "server",
            subject: "CN=x".into(),
            not_after: end,
        };
        let warnings = Warnings::at([day, day * 30]);
        let told = |end, before: u32| {
            let now = SystemTime::UNIX_EPOCH + day * (1_000 - before);
            !warnings.due(&[expiry(end)], now).is_empty()
        };
        assert!(!told(end, 31));
        assert!(told(end, 29));
        assert!(!told(end, 20));
        assert!(told(end, 1));
        assert!(!told(end, 0));
        let after = SystemTime::UNIX_EPOCH + day * 1_001;
        assert_eq!(warnings.due(&[expiry(end)], after), [(expiry(end), None)]);
        assert_eq!(warnings.due(&[expiry(end)], after), []);
        // The renewed one is another.
        assert!(told(end + day, 0));
    }
}
