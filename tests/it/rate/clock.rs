//! The clock of a byte rate against a model in exact arithmetic.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use portcullis::rate::{Clock, Line, MAX_BURST, MAX_RATE};
use proptest::prelude::*;
use tokio::time::Instant;

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
        let line = Line::new(rate, origin);
        let exact = u128::from(rate) * u128::from(nanos) / NANOS;
        let position = line.position(origin + Duration::from_nanos(nanos));
        prop_assert_eq!(u128::from(position), exact % (1 << 64));
    }

    #[test]
    fn what_is_taken_is_what_the_model_allows(
        rate in rates(), burst in bursts(), steps in steps(),
    ) {
        let origin = Instant::now();
        let line = Line::new(rate, origin);
        let clock = Clock::new(line.position(origin), burst);
        let mut model = Model::new(rate, burst);
        let mut nanos = 0_u64;
        // The line gives whole bytes only, so the two may be one apart; never more, however long.
        for (pause, bytes) in steps {
            nanos += pause;
            model.advance(nanos.into());
            let position = line.position(origin + Duration::from_nanos(nanos));
            let credit = u128::from(clock.credit(position, burst));
            prop_assert!(credit.abs_diff(model.whole()) <= 1, "{credit} {}", model.whole());
            let bytes = bytes.min(burst);
            if clock.take(bytes, position, burst).is_ok() {
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
        let line = Line::new(rate, origin);
        let now = origin + Duration::from_nanos(start);
        let clock = Clock::new(line.position(now), burst);
        clock.take(burst, line.position(now), burst).unwrap();
        let position = clock.take(bytes, line.position(now), burst).unwrap_err();
        let when = line.when(position, now);
        let exact = (u128::from(bytes) * NANOS).div_ceil(rate.into());
        // What a byte was missing to a whole one at `now` may be there sooner.
        let byte = NANOS.div_ceil(rate.into());
        let wait = (when - now).as_nanos();
        let far = Duration::from_secs(24 * 365 * 30 * 60 * 60).as_nanos();
        prop_assert!(wait == far || wait <= exact && wait + byte >= exact);
        if wait < far {
            let just_before = when - Duration::from_nanos(1);
            prop_assert!(clock.take(bytes, line.position(just_before), burst).is_err());
            prop_assert!(clock.take(bytes, line.position(when), burst).is_ok());
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again(burst in bursts(), bytes in any::<u64>()) {
        let bytes = bytes.min(burst);
        let clock = Clock::new(7, burst);
        clock.take(bytes, 7, burst).unwrap();
        clock.give_back(bytes);
        prop_assert_eq!(clock.credit(7, burst), burst);
        prop_assert!(clock.take(burst, 7, burst).is_ok());
    }

    #[test]
    fn a_change_of_rate_keeps_the_credit_in_bytes(
        before in rates(), after in rates(), burst in 1_u64..1 << 40, nanos in 0_u64..1 << 50,
    ) {
        let origin = Instant::now();
        let line = Line::new(before, origin);
        let now = origin + Duration::from_nanos(nanos);
        let clock = Clock::new(line.position(origin), burst);
        clock.take(burst, line.position(origin), burst).unwrap();
        let credit = clock.credit(line.position(now), burst);
        let line = line.at_rate(after, now);
        prop_assert_eq!(clock.credit(line.position(now), burst), credit);
        let second = now + Duration::from_secs(1);
        let more = u128::from(credit) + u128::from(after);
        let expected = more.min(burst.into());
        prop_assert_eq!(u128::from(clock.credit(line.position(second), burst)), expected);
    }
}

#[test]
fn a_year_at_a_terabyte_a_second_loses_not_a_byte() {
    let rate = 1_000_000_000_000;
    let origin = Instant::now();
    let line = Line::new(rate, origin);
    let burst = rate;
    let clock = Clock::new(line.position(origin), burst);
    let mut taken = 0_u128;
    let hours = 365 * 24;
    for hour in 0..hours {
        // The line wraps around on the way, which must not show.
        let position = line.position(origin + Duration::from_secs(hour * 3600));
        clock.take(burst, position, burst).unwrap();
        clock.take(1, position, burst).unwrap_err();
        taken += u128::from(burst);
    }
    assert_eq!(taken, u128::from(burst) * u128::from(hours));
}

#[test]
fn threads_that_take_at_once_take_no_more_than_there_is() {
    let origin = Instant::now();
    let line = Line::new(1, origin);
    let position = line.position(origin);
    let clock = Clock::new(position, 1_000_000);
    let taken: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=4)
            .map(|bytes| {
                let clock = &clock;
                scope.spawn(move || {
                    let mut taken = 0;
                    while clock.take(bytes, position, 1_000_000).is_ok() {
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
