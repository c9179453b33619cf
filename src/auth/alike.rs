use std::hint::spin_loop;

use quanta::Clock;

use crate::Refusal;

/// How long after its request came a refusal is given, in nanoseconds, however soon it was found out:
/// longer than finding out takes, and too short to be missed.
const AFTER: u64 = 3_000;

/// Up to how much is added, in nanoseconds. Without it, what the last look at the clock comes too late by
/// would still tell when the first one was.
const SPREAD: u64 = 1_024;

/// Looks at the clock at most, should it stand still.
const LOOKS: usize = 10_000;

/// Gives refusals of one kind at one time.
///
/// Which steps were taken, and what of their data was in the processor's caches, tells an unknown token
/// from one that is over or of another network, by some nanoseconds. A caller who collects enough
/// answers sees those; so nobody is answered as soon as it is possible.
#[derive(Clone, Debug, Default)]
pub(super) struct Alike(Clock);

/// When a request came.
#[derive(Clone, Copy)]
pub(super) struct Came(u64);

impl Alike {
    pub(super) fn came(&self) -> Came {
        Came(self.0.raw())
    }

    /// Waits until it is time for this refusal.
    pub(super) fn wait(&self, Came(came): Came, refusal: Refusal) {
        if !says_nothing(refusal) {
            return;
        }
        let spread = came.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let after = AFTER + spread % SPREAD;
        for _ in 0..LOOKS {
            if self.0.delta_as_nanos(came, self.0.raw()) >= after {
                return;
            }
            spin_loop();
        }
    }
}

/// Whether a refusal is not to be told from others of its kind.
fn says_nothing(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::CredentialsUnknown
            | Refusal::CredentialsExpired
            | Refusal::CredentialsNotYetValid
            | Refusal::CredentialsWrongNetwork
            | Refusal::CredentialsWrongIdentity
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quanta::Mock;

    use super::*;

    /// How long a refusal takes that was found out after so many nanoseconds.
    fn time(alike: &Alike, mock: &Arc<Mock>, found_out: u64, refusal: Refusal) -> u64 {
        let came = alike.came();
        mock.increment(found_out);
        alike.wait(came, refusal);
        alike.0.raw() - came.0
    }

    #[test]
    fn a_clock_that_stands_still_holds_nobody_forever() {
        let (clock, mock) = Clock::mock();
        let alike = Alike(clock);
        assert_eq!(time(&alike, &mock, 7, Refusal::CredentialsExpired), 7);
    }

    #[test]
    fn refusals_of_credentials_take_as_long_however_soon_they_are_found_out() {
        let alike = Alike::default();
        for refusal in [Refusal::CredentialsUnknown, Refusal::CredentialsExpired] {
            let began = std::time::Instant::now();
            alike.wait(alike.came(), refusal);
            assert!(began.elapsed().as_nanos() >= u128::from(AFTER));
        }
        let (clock, mock) = Clock::mock();
        let alike = Alike(clock);
        assert_eq!(time(&alike, &mock, 7, Refusal::CredentialsMissing), 7);
    }
}
