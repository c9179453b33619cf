use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "metrics")]
use metrics::{Counter, Gauge, counter, gauge};

use crate::Refusal;

/// What is counted of one limit, under its name, which is the operator's. Without the feature
/// `metrics` each function does nothing.
pub(crate) struct LimitMeters {
    #[cfg(feature = "metrics")]
    on: on::Meters,
}

/// A body that a limit counts is in flight for as long as this value lives.
#[derive(Debug)]
pub(crate) struct TransferInFlight(#[cfg(feature = "metrics")] Arc<LimitMeters>);

/// A body is held back by a limit, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Waiting {
    by: Arc<LimitMeters>,
    #[cfg(feature = "metrics")]
    counted: bool,
}

#[cfg_attr(
    not(feature = "metrics"),
    allow(unused_variables, clippy::unused_self, reason = "nothing is counted")
)]
impl LimitMeters {
    pub(crate) fn new(limit: Arc<str>) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            on: on::Meters::new(limit),
        }
    }

    /// A request was refused by this limit.
    pub(crate) fn refused(&self, refusal: Refusal) {
        #[cfg(feature = "metrics")]
        counter!(
            "portcullis_limit_refusals_total",
            "limit" => self.on.limit(), "reason" => refusal.label()
        )
        .increment(1);
    }

    /// Counts a body that begins; returns `None` if no recorder is installed.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<TransferInFlight> {
        #[cfg(feature = "metrics")]
        if let Some(handles) = self.on.handles() {
            handles.transfers.increment(1);
            return Some(TransferInFlight(Arc::clone(self)));
        }
        None
    }

    /// A body has to wait.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        #[cfg(feature = "metrics")]
        let handles = self.on.handles();
        #[cfg(feature = "metrics")]
        if let Some(handles) = handles {
            handles.waiting.increment(1);
        }
        Waiting {
            by: Arc::clone(self),
            #[cfg(feature = "metrics")]
            counted: handles.is_some(),
        }
    }

    /// What is left of a quota, of one of its keys, in the window that began then.
    pub(crate) fn quota_left(&self, begins: u64, left: u64) {
        #[cfg(feature = "metrics")]
        self.on.quota_left(begins, left);
    }
}

impl Waiting {
    /// Whether it is by this limit.
    pub(crate) fn is_by(&self, meters: &Arc<LimitMeters>) -> bool {
        Arc::ptr_eq(&self.by, meters)
    }

    /// The body had to wait for so long.
    pub(crate) fn took(self, time: Duration) {
        #[cfg(feature = "metrics")]
        self.by.on.waited(time);
        let _ = time;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Only if it was counted in: the recorder may have come since.
        #[cfg(feature = "metrics")]
        if let Some(handles) = self.by.on.handles().filter(|_| self.counted) {
            handles.waiting.decrement(1);
        }
    }
}

#[cfg(feature = "metrics")]
impl Drop for TransferInFlight {
    fn drop(&mut self) {
        if let Some(handles) = self.0.on.handles() {
            handles.transfers.decrement(1);
        }
    }
}

impl fmt::Debug for LimitMeters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitMeters").finish_non_exhaustive()
    }
}

#[cfg(feature = "metrics")]
mod on {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::{Arc, Counter, Duration, Gauge, counter, gauge};
    use crate::telemetry::recorder;

    const SECOND: u64 = 1_000_000_000;

    pub(super) struct Meters {
        limit: Arc<str>,
        handles: recorder::Handles<Handles>,
        /// Nanoseconds that bodies were held back for.
        waited: AtomicU64,
        /// A window's beginning, and what the key has left that has least.
        least: Mutex<(u64, u64)>,
        left: recorder::Handles<Gauge>,
    }

    pub(super) struct Handles {
        pub(super) transfers: Gauge,
        pub(super) waiting: Gauge,
        throttled: Counter,
    }

    impl Meters {
        pub(super) fn new(limit: Arc<str>) -> Self {
            Self {
                limit,
                handles: recorder::Handles::new(),
                waited: AtomicU64::new(0),
                least: Mutex::default(),
                left: recorder::Handles::new(),
            }
        }

        pub(super) fn limit(&self) -> String {
            self.limit.to_string()
        }

        pub(super) fn handles(&self) -> Option<&Handles> {
            self.handles.get(|| Handles {
                transfers: gauge!("portcullis_limit_transfers", "limit" => self.limit()),
                waiting: gauge!("portcullis_limit_waiting", "limit" => self.limit()),
                throttled: counter!(
                    "portcullis_limit_throttled_seconds_total", "limit" => self.limit()
                ),
            })
        }

        /// Counters are whole: each counts a second once it is full.
        pub(super) fn waited(&self, time: Duration) {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let before = self.waited.fetch_add(nanos, Ordering::Relaxed);
            let full = before.saturating_add(nanos) / SECOND - before / SECOND;
            if let Some(handles) = self.handles() {
                handles.throttled.increment(full);
            }
        }

        pub(super) fn quota_left(&self, begins: u64, left: u64) {
            let mut least = self.least.lock().unwrap_or_else(PoisonError::into_inner);
            if begins > least.0 || left < least.1 {
                *least = (begins, left);
            }
            // To the nearest number that a gauge has.
            #[allow(clippy::cast_precision_loss, reason = "a gauge")]
            let left = least.1 as f64;
            let gauge = || gauge!("portcullis_quota_left_bytes", "limit" => self.limit());
            if let Some(gauge) = self.left.get(gauge) {
                gauge.set(left);
            }
        }
    }
}
