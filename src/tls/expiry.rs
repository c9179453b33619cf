use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::time;
use crate::PeerIdentity;
use crate::util::calendar;

/// The end of a certificate that the server depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Expiry {
    /// The certificate's role: `server` or `client_ca`.
    pub kind: &'static str,
    /// The certificate's subject in RFC 4514 form; without one, the name by which it is called.
    pub subject: Box<str>,
    /// The first moment at which the certificate is valid.
    pub not_before: SystemTime,
    /// The last moment at which the certificate is valid.
    pub not_after: SystemTime,
}

/// Warns once at each distance before something that the server depends on ends.
#[derive(Debug)]
pub(super) struct Warnings {
    certificates: Vec<Duration>,
    lists: Vec<Duration>,
    /// How many distances were passed by each when it was last logged.
    told: HashMap<Expiry, usize>,
}

impl Expiry {
    pub(super) fn new(kind: &'static str, identity: &PeerIdentity) -> Self {
        Self {
            kind,
            subject: match identity.subject() {
                "" => identity.name().into(),
                subject => subject.into(),
            },
            not_before: identity.not_before(),
            not_after: identity.not_after(),
        }
    }
}

impl Warnings {
    pub(super) fn at(certificates: &[Duration], lists: &[Duration]) -> Self {
        Self {
            certificates: certificates.to_vec(),
            lists: lists.to_vec(),
            told: HashMap::new(),
        }
    }

    /// Logs those that passed a distance since the last look.
    pub(super) fn look(&mut self, ends: Vec<Expiry>, now: SystemTime) {
        for (expiry, left) in self.due(ends, now) {
            let Expiry { kind, subject, .. } = &expiry;
            let not_after = calendar::rfc3339(expiry.not_after);
            let left = left.map(time::words);
            match (*kind, left) {
                ("crl", None) => {
                    tracing::error!(issuer = %subject, not_after, "a CRL is past its nextUpdate");
                }
                ("crl", Some(left)) => tracing::warn!(
                    issuer = %subject, not_after,
                    "a CRL is due in {left}, and no newer one has come"
                ),
                (_, None) => {
                    tracing::error!(kind, %subject, not_after, "a certificate has expired");
                }
                (_, Some(left)) => {
                    tracing::warn!(kind, %subject, not_after, "a certificate ends in {left}");
                }
            }
        }
    }

    /// Those that passed a distance since they were last logged, with the time left.
    fn due(&mut self, ends: Vec<Expiry>, now: SystemTime) -> Vec<(Expiry, Option<Duration>)> {
        let mut told = HashMap::new();
        let mut due = Vec::new();
        for expiry in ends {
            let left = expiry.not_after.duration_since(now).ok();
            let whole = expiry.not_after.duration_since(expiry.not_before);
            let longest = whole.unwrap_or_default() / 3;
            let distances = if expiry.kind == "crl" {
                &self.lists
            } else {
                &self.certificates
            };
            let passed = |distance: &&Duration| {
                **distance <= longest && left.is_none_or(|left| left <= **distance)
            };
            let passed = distances.iter().filter(passed).count() + usize::from(left.is_none());
            if passed > self.told.get(&expiry).copied().unwrap_or(0) {
                due.push((expiry.clone(), left));
            }
            told.insert(expiry, passed);
        }
        self.told = told;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn day(number: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * number
    }

    fn expiry(kind: &'static str, from: u32, to: u32) -> Expiry {
        Expiry {
            kind,
            subject: "CN=x".into(),
            not_before: day(from),
            not_after: day(to),
        }
    }

    #[test]
    fn each_distance_is_told_once_for_each_certificate() {
        let mut warnings = Warnings::at(&[DAY, DAY * 30], &[]);
        let mut told = |from, to, at| {
            let due = warnings.due(vec![expiry("server", from, to)], day(at));
            !due.is_empty()
        };
        assert!(!told(0, 1_000, 969));
        assert!(told(0, 1_000, 971));
        assert!(!told(0, 1_000, 980));
        assert!(told(0, 1_000, 999));
        assert!(!told(0, 1_000, 1_000));
        assert!(told(0, 1_000, 1_001));
        assert!(!told(0, 1_000, 1_002));
        // The renewed one is another.
        assert!(told(970, 1_300, 1_299));
    }

    #[test]
    fn what_lives_for_a_short_time_is_not_told_of_all_its_life() {
        let mut warnings = Warnings::at(&[DAY * 30, DAY * 7, DAY], &[DAY * 2]);
        let mut told = |kind, to, at| !warnings.due(vec![expiry(kind, 0, to)], day(at)).is_empty();
        assert!(!told("server", 9, 3));
        assert!(told("server", 9, 8));
        assert!(!told("server", 2, 1));
        assert!(!told("crl", 5, 4));
        assert!(told("crl", 6, 4));
        assert!(told("crl", 6, 7));
    }
}
