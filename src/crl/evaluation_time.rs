use std::cell::Cell;
use std::time::SystemTime;

/// Seconds after 1970; what lies before is 0, at which nothing has begun.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The time at which a path is judged. Each comparison with it notes when it would come out otherwise: until
/// the first of these the same CRLs give the same verdict.
#[derive(Debug)]
pub(super) struct EvaluationTime {
    /// Seconds after 1970.
    now: u64,
    until: Cell<u64>,
}

impl EvaluationTime {
    pub(super) fn new(now: u64) -> Self {
        Self {
            now,
            until: Cell::new(u64::MAX),
        }
    }

    /// Whether what begins then has begun.
    pub(super) fn has_come(&self, begin: u64) -> bool {
        let has_come = begin <= self.now;
        if !has_come {
            self.holds_until(begin - 1);
        }
        has_come
    }

    /// Whether what ends then is over.
    pub(super) fn is_past(&self, end: u64) -> bool {
        let is_past = end < self.now;
        if !is_past {
            self.holds_until(end);
        }
        is_past
    }

    /// The last second at which every comparison so far comes out the same.
    pub(super) fn until(&self) -> u64 {
        self.until.get()
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
    fn what_is_over_or_has_begun_changes_no_more() {
        let time = EvaluationTime::new(100);
        assert!(time.has_come(100) && time.is_past(99));
        assert_eq!(time.until(), u64::MAX);
        assert!(!time.has_come(200) && !time.is_past(150));
        assert_eq!(time.until(), 150);
        assert!(!time.has_come(101));
        assert_eq!(time.until(), 100);
    }

    proptest! {
        #[test]
        fn until_its_end_all_comparisons_come_out_the_same_and_after_it_not(
            now in 0..50_u64, times in proptest::collection::vec((any::<bool>(), 0..50_u64), 1..6),
        ) {
            let compare = |now| {
                let time = EvaluationTime::new(now);
                let outcomes: Vec<_> = times
                    .iter()
                    .map(|&(begin, bound)| if begin { time.has_come(bound) } else { time.is_past(bound) })
                    .collect();
                (outcomes, time.until())
            };
            let (outcomes, until) = compare(now);
            for later in now..60 {
                prop_assert_eq!(compare(later).0 == outcomes, later <= until);
            }
        }
    }
}
