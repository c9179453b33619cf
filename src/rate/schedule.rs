use std::time::Duration;

use tokio::time::Instant;

use crate::util::gcra::AHEAD;

const NANOS: u64 = 1_000_000_000;

/// As good as never, as in tokio.
const FAR: Duration = Duration::from_secs(24 * 365 * 30 * 60 * 60);

/// A rate as a schedule through time: how many bytes it has let pass since its origin, modulo 2^64.
///
/// The position is computed from the whole time since the origin and never added up, so it does not drift: it
/// is always exact to the byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    origin: Instant,
    base: u64,
    rate: u64,
    whole: u64,
    part: u64,
}

impl Schedule {
    /// Makes a schedule of `rate` bytes per second, at most [`MAX_RATE`](super::MAX_RATE), from `origin` on.
    pub(super) fn new(rate: u64, origin: Instant) -> Self {
        Self::from_base(rate, origin, 0)
    }

    fn from_base(rate: u64, origin: Instant, base: u64) -> Self {
        Self {
            origin,
            base,
            rate,
            whole: rate / NANOS,
            part: rate % NANOS,
        }
    }

    /// Returns the schedule that goes on from `now` at another rate: debts and credits stay what they are in
    /// bytes, and so does the part of a byte that is due.
    pub(super) fn at_rate(&self, rate: u64, now: Instant) -> Self {
        let elapsed = now.saturating_duration_since(self.origin);
        let part = u64::from(elapsed.subsec_nanos()) * self.part % NANOS;
        let before = Duration::from_nanos(part / rate.max(1));
        let origin = now.checked_sub(before).unwrap_or(now);
        Self::from_base(rate, origin, self.position(now))
    }

    /// Returns the rate, in bytes per second.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// Returns how many bytes have become due by `now`, modulo 2^64, rounded down.
    #[inline]
    pub(super) fn position(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin);
        let nanos = u64::from(elapsed.subsec_nanos());
        // With rate = whole * 10^9 + part, each product of the nanoseconds fits 64 bits.
        let within = nanos * self.whole + nanos * self.part / NANOS;
        let seconds = elapsed.as_secs().wrapping_mul(self.rate);
        self.base.wrapping_add(seconds).wrapping_add(within)
    }

    /// Returns the first instant, to the nanosecond, at which the schedule is at `position`; `now` if the
    /// schedule has passed it.
    pub(super) fn when(&self, position: u64, now: Instant) -> Instant {
        let ahead = position.wrapping_sub(self.position(now));
        if ahead == 0 || ahead > u64::MAX - AHEAD {
            return now;
        }
        let elapsed = now.saturating_duration_since(self.origin).as_nanos();
        let nanos = u128::from(NANOS);
        let rate = u128::from(self.rate.max(1));
        let passed = elapsed * rate / nanos;
        let due = ((passed + u128::from(ahead)) * nanos).div_ceil(rate);
        let wait = u64::try_from(due - elapsed).map_or(FAR, Duration::from_nanos);
        now + wait.min(FAR)
    }

    /// Returns how long `bytes` take at this rate.
    pub(super) fn time_for(&self, bytes: u64) -> Duration {
        let nanos = (u128::from(bytes) * u128::from(NANOS)).div_ceil(u128::from(self.rate.max(1)));
        u64::try_from(nanos).map_or(FAR, Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    //! Against a model in exact arithmetic.

    use proptest::prelude::*;

    use super::super::gcra_cell::GcraCell;
    use super::super::{MAX_BURST, MAX_RATE};
    use super::*;

    const NANOS: u128 = 1_000_000_000;

    /// A key's credit, in whole bytes and billionths: nothing wraps, nothing is rounded.
    struct Model {
        rate: u128,
        burst: u128,
        credit: u128,
        at: u128,
    }

    impl Model {
        fn new(rate: u64, burst: u64) -> Self {
            let burst = u128::from(burst) * NANOS;
            Self {
                rate: rate.into(),
                burst,
                credit: burst,
                at: 0,
            }
        }

        fn advance(&mut self, nanos: u128) {
            self.credit = (self.credit + (nanos - self.at) * self.rate).min(self.burst);
            self.at = nanos;
        }

        fn take(&mut self, bytes: u64) {
            self.credit -= u128::from(bytes) * NANOS;
        }

        fn whole(&self) -> u128 {
            self.credit / NANOS
        }
    }

    fn rates() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(1),
            Just(MAX_RATE),
            Just(1_000_000_000_000),
            1..=MAX_RATE,
            1_u64..1_000_000,
        ]
    }

    fn bursts() -> impl Strategy<Value = u64> {
        prop_oneof![Just(1), Just(MAX_BURST), 1..=MAX_BURST, 1_u64..10_000_000]
    }

    fn steps() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let pause = prop_oneof![
            0_u64..1_000,
            0_u64..1_000_000_000,
            // Up to eleven days at once.
            0_u64..1_000_000_000_000_000,
        ];
        let bytes = prop_oneof![0_u64..100, 0_u64..10_000_000, any::<u64>()];
        proptest::collection::vec((pause, bytes), 1..60)
    }

    proptest! {
        #[test]
        fn the_line_is_the_floor_of_rate_times_time(rate in rates(), nanos in 0_u64..1 << 60) {
            let origin = Instant::now();
            let schedule = Schedule::new(rate, origin);
            let exact = u128::from(rate) * u128::from(nanos) / NANOS;
            let position = schedule.position(origin + Duration::from_nanos(nanos));
            prop_assert_eq!(u128::from(position), exact % (1 << 64));
        }

        #[test]
        fn what_is_taken_is_what_the_model_allows(
            rate in rates(), burst in bursts(), steps in steps(),
        ) {
            let origin = Instant::now();
            let schedule = Schedule::new(rate, origin);
            let cell = GcraCell::new(schedule.position(origin), burst);
            let mut model = Model::new(rate, burst);
            let mut nanos = 0_u64;
            // The schedule gives whole bytes only, so the two may be one apart; never more, however long.
            for (pause, bytes) in steps {
                nanos += pause;
                model.advance(nanos.into());
                let position = schedule.position(origin + Duration::from_nanos(nanos));
                let credit = u128::from(cell.credit(position, burst));
                prop_assert!(credit.abs_diff(model.whole()) <= 1, "{credit} {}", model.whole());
                let bytes = bytes.min(burst);
                if cell.take(bytes, position, burst).is_ok() {
                    prop_assert!(u128::from(bytes) <= model.whole() + 1);
                    model.credit = model.credit.max(u128::from(bytes) * NANOS);
                    model.take(bytes);
                } else {
                    prop_assert!(u128::from(bytes) + 1 > model.whole());
                }
            }
        }

        #[test]
        fn a_refused_taking_succeeds_at_the_instant_it_names_and_not_before(
            rate in rates(), burst in 1_u64..1 << 40, bytes in 1_u64..1 << 40, start in 0_u64..1 << 50,
        ) {
            let bytes = bytes.min(burst);
            let origin = Instant::now();
            let schedule = Schedule::new(rate, origin);
            let now = origin + Duration::from_nanos(start);
            let cell = GcraCell::new(schedule.position(now), burst);
            cell.take(burst, schedule.position(now), burst).unwrap();
            let position = cell.take(bytes, schedule.position(now), burst).unwrap_err();
            let when = schedule.when(position, now);
            let exact = (u128::from(bytes) * NANOS).div_ceil(rate.into());
            // What a byte was missing to a whole one at `now` may be there sooner.
            let byte = NANOS.div_ceil(rate.into());
            let wait = (when - now).as_nanos();
            let far = Duration::from_secs(24 * 365 * 30 * 60 * 60).as_nanos();
            prop_assert!(wait == far || wait <= exact && wait + byte >= exact);
            if wait < far {
                let just_before = when - Duration::from_nanos(1);
                prop_assert!(cell.take(bytes, schedule.position(just_before), burst).is_err());
                prop_assert!(cell.take(bytes, schedule.position(when), burst).is_ok());
            }
        }

        #[test]
        fn what_is_given_back_can_be_taken_again(burst in bursts(), bytes in any::<u64>()) {
            let bytes = bytes.min(burst);
            let cell = GcraCell::new(7, burst);
            cell.take(bytes, 7, burst).unwrap();
            cell.give_back(bytes);
            prop_assert_eq!(cell.credit(7, burst), burst);
            prop_assert!(cell.take(burst, 7, burst).is_ok());
        }

        #[test]
        fn a_change_of_rate_keeps_the_credit_in_bytes(
            before in rates(), after in rates(), burst in 1_u64..1 << 40, nanos in 0_u64..1 << 50,
        ) {
            let origin = Instant::now();
            let schedule = Schedule::new(before, origin);
            let now = origin + Duration::from_nanos(nanos);
            let cell = GcraCell::new(schedule.position(origin), burst);
            cell.take(burst, schedule.position(origin), burst).unwrap();
            let credit = cell.credit(schedule.position(now), burst);
            let schedule = schedule.at_rate(after, now);
            prop_assert_eq!(cell.credit(schedule.position(now), burst), credit);
            let second = now + Duration::from_secs(1);
            let more = u128::from(credit) + u128::from(after);
            let expected = more.min(burst.into());
            prop_assert_eq!(u128::from(cell.credit(schedule.position(second), burst)), expected);
        }
    }

    #[test]
    fn a_year_at_a_terabyte_a_second_loses_not_a_byte() {
        let rate = 1_000_000_000_000;
        let origin = Instant::now();
        let schedule = Schedule::new(rate, origin);
        let burst = rate;
        let cell = GcraCell::new(schedule.position(origin), burst);
        let mut taken = 0_u128;
        let hours = 365 * 24;
        for hour in 0..hours {
            // The schedule wraps around on the way, which must not show.
            let position = schedule.position(origin + Duration::from_secs(hour * 3600));
            cell.take(burst, position, burst).unwrap();
            cell.take(1, position, burst).unwrap_err();
            taken += u128::from(burst);
        }
        assert_eq!(taken, u128::from(burst) * u128::from(hours));
    }

    #[test]
    fn threads_that_take_at_once_take_no_more_than_there_is() {
        let origin = Instant::now();
        let schedule = Schedule::new(1, origin);
        let position = schedule.position(origin);
        let cell = GcraCell::new(position, 1_000_000);
        let taken: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=4)
                .map(|bytes| {
                    let cell = &cell;
                    scope.spawn(move || {
                        let mut taken = 0;
                        while cell.take(bytes, position, 1_000_000).is_ok() {
                            taken += bytes;
                        }
                        taken
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert!((999_997..=1_000_000).contains(&taken), "{taken}");
    }
}
