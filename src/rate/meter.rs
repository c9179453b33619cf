use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

#[cfg(feature = "redis")]
use super::fleet::{Account, Accounts, keep_accounts};
use super::options::Quota;
use super::quota::{Calendar, Usage};
use super::quota_status::QuotaStatus;
use super::subject::Charged;
use super::{Exhausted, Limit};
use crate::telemetry::limit_meters::LimitMeters;

/// Where a quota's bytes are counted: here, or with a fleet.
#[derive(Clone, Debug)]
pub(super) enum Ledger {
    Here(Arc<Usage>),
    #[cfg(feature = "redis")]
    Fleet(Arc<Accounts>),
}

/// A quota that a body is counted in.
#[derive(Debug)]
pub(super) struct Meter {
    quota: Quota,
    account: Kept,
    counts: Arc<LimitMeters>,
    /// The second in which it was last reported what is left.
    reported: AtomicU64,
}

#[derive(Debug)]
enum Kept {
    Here(Arc<Usage>, u64),
    #[cfg(feature = "redis")]
    Fleet(Arc<Accounts>, Arc<Account>),
}

impl Ledger {
    /// The ledger of a limit's quota: the old one, if it is of the same kind.
    pub(super) fn new(
        limit: &Limit,
        quota: Quota,
        keys: usize,
        old: Option<&Self>,
        calendar: &Calendar,
    ) -> Self {
        #[cfg(feature = "redis")]
        if let Some(fleet) = &limit.fleet {
            if let Some(Self::Fleet(accounts)) = old
                && accounts.rules().quota.window == quota.window
            {
                accounts.change(fleet.clone(), quota);
                return Self::Fleet(Arc::clone(accounts));
            }
            let (name, fleet) = (Arc::clone(&limit.name), fleet.clone());
            let accounts = Accounts::new(name, fleet, quota, keys, calendar.clone(), keep_accounts);
            return Self::Fleet(Arc::new(accounts));
        }
        let _ = (limit, quota, calendar);
        match old {
            Some(Self::Here(usage)) => Self::Here(Arc::clone(usage)),
            _ => Self::Here(Arc::new(Usage::new(keys))),
        }
    }

    /// The meter of one key.
    pub(super) fn meter(
        &self,
        quota: Quota,
        key: u64,
        charged: &Charged<'_>,
        counts: &Arc<LimitMeters>,
    ) -> Meter {
        let account = match self {
            Self::Here(usage) => Kept::Here(Arc::clone(usage), key),
            #[cfg(feature = "redis")]
            Self::Fleet(accounts) => {
                let account = accounts.open(key, || charged.shared_name());
                Kept::Fleet(Arc::clone(accounts), account)
            }
        };
        let _ = charged;
        Meter {
            quota,
            account,
            counts: Arc::clone(counts),
            reported: AtomicU64::new(0),
        }
    }
}

impl Meter {
    /// Counts `bytes`, or as many as are left if the quota cuts. Waits only for a fleet's server.
    fn poll_count(&self, cx: &mut Context<'_>, bytes: u64, calendar: &Calendar) -> Poll<u64> {
        let cuts = self.quota.exhausted == Exhausted::Cut;
        let _ = &cx;
        let counted = match &self.account {
            Kept::Here(usage, key) => {
                let span = calendar.span(self.quota.window);
                if cuts {
                    usage.take(*key, bytes, self.quota, span)
                } else {
                    usage.add(*key, bytes, span);
                    bytes
                }
            }
            #[cfg(feature = "redis")]
            Kept::Fleet(accounts, account) => {
                if cuts {
                    ready!(accounts.poll_take(cx, account, bytes))
                } else {
                    accounts.add(account, bytes);
                    bytes
                }
            }
        };
        self.report_left(calendar, counted < bytes);
        Poll::Ready(counted)
    }

    /// Reports to the metrics what is left, once a second or at once.
    fn report_left(&self, calendar: &Calendar, at_once: bool) {
        let span = calendar.span(self.quota.window);
        if self.reported.swap(span.now, Ordering::Relaxed) != span.now || at_once {
            self.counts.quota_left(span.begins, self.left(calendar));
        }
    }

    /// Counts bytes out that were counted and not sent.
    fn give_back(&self, bytes: u64, calendar: &Calendar) {
        match &self.account {
            Kept::Here(usage, key) => {
                usage.give_back(*key, bytes, calendar.span(self.quota.window));
            }
            #[cfg(feature = "redis")]
            Kept::Fleet(accounts, account) => accounts.give_back(account, bytes),
        }
    }

    /// Whether a request may begin, as far as is known.
    pub(super) fn status(&self, calendar: &Calendar) -> QuotaStatus {
        let status = match &self.account {
            Kept::Here(..) if self.left(calendar) > 0 => QuotaStatus::Open,
            Kept::Here(..) => QuotaStatus::Exhausted,
            #[cfg(feature = "redis")]
            Kept::Fleet(accounts, account) => accounts.status(account),
        };
        self.report_left(calendar, status == QuotaStatus::Exhausted);
        status
    }

    /// Whether a request may begin, once that is known.
    pub(super) fn poll_status(
        &self,
        cx: &mut Context<'_>,
        calendar: &Calendar,
    ) -> Poll<QuotaStatus> {
        let _ = cx;
        match &self.account {
            Kept::Here(..) => Poll::Ready(self.status(calendar)),
            #[cfg(feature = "redis")]
            Kept::Fleet(accounts, account) => accounts.poll_status(cx, account),
        }
    }

    /// What is left of the quota, as far as is known.
    pub(super) fn left(&self, calendar: &Calendar) -> u64 {
        match &self.account {
            Kept::Here(usage, key) => {
                let used = usage.used(*key, calendar.span(self.quota.window));
                self.quota.bytes.saturating_sub(used)
            }
            #[cfg(feature = "redis")]
            Kept::Fleet(accounts, account) => accounts.left(account),
        }
    }

    pub(super) fn quota(&self) -> Quota {
        self.quota
    }
}

/// Counts `bytes` with all of them, or as many as are left with each.
pub(super) fn poll_count(
    meters: &[Meter],
    cx: &mut Context<'_>,
    bytes: u64,
    calendar: &Calendar,
) -> Poll<u64> {
    let mut allowed = bytes;
    for (index, meter) in meters.iter().enumerate() {
        let counted = meter.poll_count(cx, allowed, calendar);
        let taken = if let Poll::Ready(taken) = counted {
            taken
        } else {
            0
        };
        if taken < allowed {
            for before in &meters[..index] {
                before.give_back(allowed - taken, calendar);
            }
        }
        allowed = ready!(counted);
    }
    Poll::Ready(allowed)
}
