//! Failures that are not forgiven yet, each key's in its own GCRA cell.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

/// The largest capacity: a table of so many keys takes 19 MB.
const MOST: usize = 1 << 20;

/// Counts failures by keys, in a table of fixed size.
pub(super) struct Failures {
    limiter: RateLimiter<Key, Debts, TokioClock, NoOpMiddleware<Instant>>,
    debts: Debts,
    /// Not before the limiter's own.
    start: Instant,
    keys: RandomState,
}

/// Whose failures: a keyed hash, so that an attacker cannot choose which keys share a set.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    hash: u64,
    /// Whether a failure is to be counted, or only looked whether one more could be.
    count: bool,
}

/// Too many failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// In seconds, at least one.
    pub(super) retry_after: u32,
    /// Whether the failures are those of this very key, and not those of others in a full table.
    pub(super) own: bool,
}

impl Failures {
    pub(super) fn new(burst: NonZeroU32, every: Duration, capacity: usize) -> Self {
        // `with_period` is `None` for a period of zero only.
        let quota = Quota::with_period(every.max(Duration::from_nanos(1)))
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        let debts = Debts::new(capacity.min(MOST));
        Self {
            limiter: RateLimiter::new(quota, debts.clone(), TokioClock),
            debts,
            start: TokioClock.now(),
            keys: RandomState::new(),
        }
    }

    /// Whether this key may fail once more.
    pub(super) fn check(&self, key: impl Hash) -> Result<(), Exhausted> {
        let key = self.key(key, false);
        if !self.debts.any_beside(&key) {
            return Ok(());
        }
        if let Err(not_until) = self.limiter.check_key(&key) {
            let wait = not_until.wait_time_from(TokioClock.now());
            let seconds = wait.as_secs_f64().ceil().clamp(1.0, f64::from(u32::MAX));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to what fits"
            )]
            let retry_after = seconds as u32;
            let own = self.debts.has_place(&key);
            return Err(Exhausted { retry_after, own });
        }
        let now = TokioClock.now().duration_since(self.start);
        self.debts.tidy(&key, Nanos::from(now).as_u64());
        Ok(())
    }

    pub(super) fn count(&self, key: impl Hash) {
        // Past the limit already: it does not get worse.
        let _ = self.limiter.check_key(&self.key(key, true));
    }

    fn key(&self, key: impl Hash, count: bool) -> Key {
        let hash = self.keys.hash_one(key);
        Key { hash, count }
    }
}

/// The clock that tests can pause.
#[derive(Clone, Copy, Debug)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// GCRA clocks in a table of fixed size. Each key has a few places to be in; where all are taken, a new
/// key takes over the place of the least indebted with its debt, and keys without a place are held to
/// owe as much (Metwally's Space-Saving). The least debt of a set never falls, so a key that lost its place
/// never owes less than before.
#[derive(Clone)]
struct Debts {
    sets: Arc<[Set]>,
}

#[derive(Default)]
struct Set {
    /// Whether there may be debts: most keys share a set with none, and are looked at no further.
    owes: AtomicBool,
    slots: Mutex<[Slot; WAYS]>,
}

const WAYS: usize = 8;

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    /// In nanoseconds since the limiter's start; 0 is a free slot.
    arrival: u64,
}

impl Debts {
    fn new(capacity: usize) -> Self {
        let sets = capacity.div_ceil(WAYS).max(1).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
        }
    }

    /// The set is chosen by the low bits; the whole hash tells keys apart within it.
    fn set(&self, key: &Key) -> &Set {
        let set = usize::try_from(key.hash % self.sets.len() as u64).unwrap_or(0);
        &self.sets[set]
    }

    /// Whether there may be debts in this key's set.
    fn any_beside(&self, key: &Key) -> bool {
        self.set(key).owes.load(Ordering::Relaxed)
    }

    /// Whether this key's debt is its own.
    fn has_place(&self, key: &Key) -> bool {
        let slots = self.set(key).lock();
        slots
            .iter()
            .any(|slot| slot.arrival != 0 && slot.key == key.hash)
    }

    /// Forgets the debts beside this key if all of them are over at `now`, in nanoseconds since the
    /// limiter's start.
    fn tidy(&self, key: &Key, now: u64) {
        let set = self.set(key);
        let mut slots = set.lock();
        if slots.iter().all(|slot| slot.arrival <= now) {
            *slots = Default::default();
            set.owes.store(false, Ordering::Relaxed);
        }
    }
}

impl Set {
    fn lock(&self) -> MutexGuard<'_, [Slot; WAYS]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Debts {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let set = self.set(key);
        let mut slots = set.lock();
        // Its own place, or else the one with the least debt.
        let (mut at, mut least) = (0, u64::MAX);
        for (place, slot) in slots.iter().enumerate() {
            if slot.arrival != 0 && slot.key == key.hash {
                at = place;
                break;
            }
            if slot.arrival < least {
                (at, least) = (place, slot.arrival);
            }
        }
        // A debt that is over is none, whichever key it had.
        let owed = Some(slots[at].arrival).filter(|&arrival| arrival != 0);
        let (outcome, arrival) = measure(owed.map(Nanos::from))?;
        if key.count {
            set.owes.store(true, Ordering::Relaxed);
            slots[at] = Slot {
                key: key.hash,
                arrival: arrival.as_u64().max(1),
            };
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_million_spoofed_sources_clear_no_debt_and_take_no_memory() {
        let debts = Debts::new(65_536);
        // A boxed slice has one length from its beginning to its end.
        assert!(size_of_val(&*debts.sets) <= 65_536 * 18);
        // Nanoseconds into the limiter's life, at which all of this happens.
        let (now, every) = (1_000_000, 1_000);
        let owe = |hash| {
            let key = Key { hash, count: true };
            let failed = |owed: Option<Nanos>| {
                let owed = owed.map_or(now, |owed| owed.as_u64().max(now));
                Ok::<_, ()>(((), Nanos::from(owed + every)))
            };
            let _ = debts.measure_and_replace(&key, failed);
        };
        let owed = |hash| {
            let key = Key { hash, count: false };
            debts.measure_and_replace(&key, |owed| Ok::<_, ()>((owed, Nanos::from(0))))
        };
        let guilty = 0x1234_5678_9abc_def0;
        for _ in 0..3 {
            owe(guilty);
        }
        let mut hash = 1_u64;
        for _ in 0..10_000_000 {
            hash = hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            owe(hash.rotate_left(32));
        }
        assert!(owed(guilty).unwrap().unwrap().as_u64() >= now + 3 * every);
    }

    #[test]
    fn a_table_of_any_capacity_is_made() {
        for (capacity, sets) in [(0, 1), (8, 1), (9, 2), (usize::MAX, MOST / WAYS)] {
            let failures = Failures::new(NonZeroU32::MIN, Duration::ZERO, capacity);
            assert_eq!(failures.debts.sets.len(), sets, "{capacity}");
        }
    }
}
