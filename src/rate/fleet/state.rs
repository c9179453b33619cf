use std::mem;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::Unreachable;
use super::report::{QuotaTerms, Report, Server, Stir};
use crate::rate::options::Quota;
use crate::rate::quota::Span;
use crate::rate::quota_status::QuotaStatus;

/// A lease is what was used in so many periods.
const LEASE_PERIODS: u128 = 10;

/// The largest of the smallest leases.
const LEAST_LEASE: u64 = 64 * 1024;

/// For how long a key that sends nothing keeps the smallest lease, so that its next request need not
/// wait for the server.
pub(super) const QUIET: Duration = Duration::from_secs(30);

/// How old what is known of the rest may be to begin a request by it, and how often a key that sends
/// nothing shows that it is still there; less than after what silence its lease is free.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// How many windows that are over are kept apart until they are reported to the server: a day of hours.
pub(super) const CLOSED: usize = 24;

/// Where what is known of a window is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Known {
    #[default]
    Nothing,
    /// From the server.
    Told,
    /// This replica goes by its share of what was left, as it could not ask.
    Alone,
}

#[derive(Debug, Default)]
pub(super) struct AccountState {
    pub(super) begins: u64,
    pub(super) ends: u64,
    pub(super) sent: u64,
    pub(super) may: u64,
    pub(super) left: u64,
    pub(super) replicas: u64,
    pub(super) known: Known,
    /// The quota of which nothing was left when the server was last asked.
    pub(super) dry: Option<u64>,
    /// The lease, as it should be.
    pub(super) lease: u64,
    pub(super) reported: u64,
    pub(super) since: Option<Instant>,
    /// When it was last seen that something was sent or asked for.
    pub(super) used: Option<Instant>,
    pub(super) listed: bool,
    pub(super) asked: bool,
    pub(super) nudged: bool,
    pub(super) waiting: Vec<Waker>,
    /// What was sent in windows that are over, and is not reported yet.
    pub(super) closed: Vec<Report>,
    /// When the window before began, and what was sent in it: the clock may be set back.
    pub(super) before: (u64, u64),
}

impl AccountState {
    /// Begins a new window. A clock that is set back does not open one again, unless it had leapt so far
    /// ahead that the window would not end in its time.
    pub(super) fn roll(&mut self, span: Span) {
        let ahead = span.begins > self.begins;
        if !ahead && span.ends >= self.begins {
            return;
        }
        if self.sent != self.reported {
            self.close(Report {
                begins: self.begins,
                ends: self.ends,
                sent: self.sent,
                want: 0,
            });
        }
        let known = self.before.0 == span.begins;
        let sent = if known { self.before.1 } else { 0 };
        *self = Self {
            begins: span.begins,
            ends: span.ends,
            sent,
            // The server forgets nothing of it, but perhaps never got it.
            reported: if sent > 0 { u64::MAX } else { 0 },
            lease: self.lease,
            used: self.used,
            listed: self.listed,
            waiting: mem::take(&mut self.waiting),
            closed: mem::take(&mut self.closed),
            before: (self.begins, self.sent),
            ..Self::default()
        };
        // It is reported with the window that is current again.
        self.closed.retain(|closed| closed.begins != span.begins);
    }

    /// Keeps what was sent in a window that is over until it is reported. Of too many, the two oldest are
    /// reported as one.
    pub(super) fn close(&mut self, report: Report) {
        self.closed.push(report);
        self.closed.sort_unstable_by_key(|closed| closed.begins);
        if self.closed.len() > CLOSED {
            let oldest = self.closed.remove(0);
            let next = &mut self.closed[0];
            next.sent = next.sent.saturating_add(oldest.sent);
        }
    }

    /// Goes on with an equal part of what was left when the server was last heard of; of the whole
    /// quota where it never was.
    pub(super) fn go_alone(&mut self, quota: Quota, replicas: u64) {
        let share = if self.known == Known::Told {
            self.left / self.replicas.max(1)
        } else {
            quota.bytes / replicas.max(1)
        };
        (self.known, self.left) = (Known::Alone, 0);
        self.may = self.may.max(self.sent).saturating_add(share);
    }

    pub(super) fn status(&self, terms: &QuotaTerms) -> QuotaStatus {
        match terms.server {
            Server::Down(Unreachable::Open, _) => QuotaStatus::Open,
            Server::Down(Unreachable::Refuse, _) => QuotaStatus::Unavailable,
            _ if self.sent < self.may => QuotaStatus::Open,
            Server::Down(Unreachable::Local, _) => QuotaStatus::Exhausted,
            Server::Up if self.dry == Some(terms.quota.bytes) => QuotaStatus::Exhausted,
            // The next lease is on its way: it is the body that waits for it.
            Server::Up if self.known == Known::Told && self.left > 0 && self.is_fresh() => {
                QuotaStatus::Open
            }
            Server::Up => QuotaStatus::Unknown,
        }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() < FRESH)
    }

    pub(super) fn count(&mut self, bytes: u64) -> Stir {
        self.sent = self.sent.saturating_add(bytes);
        let low = self.may.saturating_sub(self.sent) < self.lease / 4 && !self.nudged;
        self.nudged |= low;
        self.stir(low)
    }

    pub(super) fn ask(&mut self, cx: &Context<'_>, terms: &QuotaTerms) -> Stir {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
        self.stir(terms.server == Server::Up)
    }

    pub(super) fn stir(&mut self, urgent: bool) -> Stir {
        Stir {
            list: !mem::replace(&mut self.listed, true),
            urgent,
        }
    }

    /// How large the lease should be, by what was used since the last report.
    pub(super) fn size(&mut self, now: Instant, period: Duration, quota: Quota) -> u64 {
        let used = self.sent.saturating_sub(self.reported);
        let passed = self
            .since
            .map_or(period, |since| now.saturating_duration_since(since));
        let early = passed < period;
        let passed = passed.max(period).as_nanos().max(1);
        let pace = u128::from(used) * LEASE_PERIODS * period.as_nanos() / passed;
        let pace = u64::try_from(pace).unwrap_or(u64::MAX);
        let starved = !self.waiting.is_empty() || self.asked;
        let least = least(quota);
        if starved || used > 0 {
            self.used = Some(now);
        }
        self.lease = if starved {
            pace.max(self.lease.saturating_mul(2)).max(least)
        } else if early {
            pace.max(self.lease)
        } else if pace > 0 {
            pace.max(self.lease / 2).max(least)
        } else {
            // Who sends nothing gives back what it has, and the rest later, or when it is wanted.
            let half = self.lease / 2;
            let wanted = self.left < least.saturating_mul(4 * self.replicas.max(1));
            let quiet = self
                .used
                .is_none_or(|at| now.saturating_duration_since(at) >= QUIET);
            if half >= least {
                half
            } else if quiet || wanted || self.lease == 0 {
                0
            } else {
                least
            }
        };
        self.lease = self.lease.min(quota.bytes);
        self.lease
    }
}

/// The smallest lease: a thousandth of the quota, but no more than 64 KiB.
pub(super) fn least(quota: Quota) -> u64 {
    (quota.bytes / 1000).clamp(1, LEAST_LEASE)
}
