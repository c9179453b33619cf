use std::time::{Duration, Instant};

use crate::util::clock;

/// How long a failure that goes on is not logged again at first; each time twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause between two log lines of one failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The failure of a load that is tried again and again.
#[derive(Debug, Default)]
pub(super) struct Failures(Option<Failure>);

#[derive(Debug)]
struct Failure {
    reason: String,
    logged: Instant,
    pause: Duration,
}

impl Failures {
    /// Notes a failure that was logged.
    pub(super) fn begun(reason: Option<&String>) -> Self {
        Self(reason.map(|reason| Failure::new(reason.clone())))
    }

    /// Returns why the newest load failed, if it did.
    pub(super) fn reason(&self) -> Option<&String> {
        self.0.as_ref().map(|failure| &failure.reason)
    }

    /// Returns whether it is the failure that there is already, for however much longer it goes on.
    pub(super) fn is_known(&self, reason: &str) -> bool {
        self.reason()
            .is_some_and(|known| without_numbers(known).eq(without_numbers(reason)))
    }

    /// Notes that there is none.
    pub(super) fn over(&mut self) {
        self.0 = None;
    }

    /// Notes a failure; returns whether it is to be logged: one that is not known, or of other files, and one
    /// that goes on at a growing distance.
    pub(super) fn note(&mut self, reason: String, are_other_files: bool) -> bool {
        let is_known = !are_other_files && self.is_known(&reason);
        match &mut self.0 {
            Some(known) if is_known => {
                known.reason = reason;
                let is_due = known.logged.elapsed() >= known.pause;
                if is_due {
                    known.logged = clock::instant();
                    known.pause = (known.pause * 2).min(LONGEST_PAUSE);
                }
                is_due
            }
            failure => {
                *failure = Some(Failure::new(reason));
                true
            }
        }
    }
}

impl Failure {
    fn new(reason: String) -> Self {
        Self {
            reason,
            logged: clock::instant(),
            pause: FIRST_PAUSE,
        }
    }
}

/// A reason can say for how long it has been one.
fn without_numbers(reason: &str) -> impl Iterator<Item = char> + '_ {
    reason.chars().filter(|one| !one.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_goes_on_is_logged_once_until_its_pause_is_over_and_another_one_at_once() {
        let mut failures = Failures::default();
        let stuck = |seconds| format!("/mnt/token: nothing has come for {seconds} s");
        assert!(failures.note(stuck(10), false));
        assert!((11..100).all(|seconds| !failures.note(stuck(seconds), false)));
        assert_eq!(failures.reason(), Some(&stuck(99)));
        // Of other files, or of another kind.
        assert!(failures.note(stuck(100), true));
        assert!(failures.note("/mnt/token: permission denied".to_owned(), false));
        assert!(failures.note(stuck(5), false));
        for _ in 0..8 {
            let failure = failures.0.as_mut().unwrap();
            failure.logged = failure.logged.checked_sub(failure.pause).unwrap();
            let pause = failure.pause;
            assert!(failures.note(stuck(200), false));
            let longer = failures.0.as_ref().unwrap().pause;
            assert_eq!(longer, (pause * 2).min(LONGEST_PAUSE));
        }
        failures.over();
        assert!(failures.note(stuck(10), false));
    }
}
