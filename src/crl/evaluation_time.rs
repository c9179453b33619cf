use std::cell::Cell;
use std::time::SystemTime;

/// Seconds after 1970; what lies before is 0, at which nothing has begun.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The time at which a path is judged. Each comparison with it notes when it would come out otherwise: between
/// these times the same CRLs give the same verdict. A clock that is set back leaves that period as one that
/// goes on does.
#[derive(Debug)]
pub(super) struct EvaluationTime {
    /// Seconds after 1970.
    now: u64,
    since: Cell<u64>,
    until: Cell<u64>,
}

impl EvaluationTime {
    pub(super) fn new(now: u64) -> Self {
        Self {
            now,
            since: Cell::new(0),
            until: Cell::new(u64::MAX),
        }
    }

    /// Whether what begins then has begun.
    pub(super) fn has_come(&self, begin: u64) -> bool {
        let has_come = begin <= self.now;
        if has_come {
            self.holds_since(begin);
        } else {
            self.holds_until(begin - 1);
        }
        has_come
    }

    /// Whether what ends then is over.
    pub(super) fn is_past(&self, end: u64) -> bool {
        let is_past = end < self.now;
        if is_past {
            self.holds_since(end + 1);
        } else {
            self.holds_until(end);
        }
        is_past
    }

    /// The first second at which every comparison so far comes out the same.
    pub(super) fn since(&self) -> u64 {
        self.since.get()
    }

    /// The last second at which every comparison so far comes out the same.
    pub(super) fn until(&self) -> u64 {
        self.until.get()
    }

    fn holds_since(&self, first: u64) {
        self.since.set(self.since.get().max(first));
    }

    fn holds_until(&self, last: u64) {
        self.until.set(self.until.get().min(last));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_over_or_has_begun_changes_no_more_unless_the_clock_is_set_back() {
        let time = EvaluationTime::new(100);
        assert_eq!(time.since(), 0);
        assert!(time.has_come(90) && time.is_past(95));
        assert_eq!(time.since(), 96);
        assert!(time.has_come(100) && time.is_past(99));
        assert_eq!((time.since(), time.until()), (100, u64::MAX));
        assert!(!time.has_come(200) && !time.is_past(150));
        assert_eq!(time.until(), 150);
        assert!(!time.has_come(101));
        assert_eq!(time.until(), 100);
    }

    proptest! {
        #[test]
        fn in_its_period_all_comparisons_come_out_the_same_and_outside_it_not(
            now in 0..50_u64, times in proptest::collection::vec((any::<bool>(), 0..50_u64), 1..6),
        ) {
            let compare = |now| {
                let time = EvaluationTime::new(now);
                let outcomes: Vec<_> = times
                    .iter()
                    .map(|&(begin, bound)| if begin { time.has_come(bound) } else { time.is_past(bound) })
                    .collect();
                (outcomes, time.since()..=time.until())
            };
            let (outcomes, period) = compare(now);
            for other in 0..60 {
                prop_assert_eq!(compare(other).0 == outcomes, period.contains(&other));
            }
        }
    }
}
