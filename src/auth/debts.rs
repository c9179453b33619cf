//! Failures that are not forgiven yet, each key's in its own GCRA cell.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::util::gcra;

/// The largest capacity: a table of so many keys takes 19 MB.
const MOST: usize = 1 << 20;

/// How many keys share a set.
const WAYS: usize = 8;

const SECOND: u64 = 1_000_000_000;

/// Counts failures by keys, in a table of fixed size: for each key a GCRA cell, whose unit is the nanosecond.
///
/// Each key has a few places to be in; where all are taken, a new key takes over the place of the least indebted
/// with its debt, and keys without a place are held to owe as much (Metwally's Space-Saving). The least debt of
/// a set never falls, so a key that lost its place never owes less than before.
pub(super) struct Failures {
    debts: Debts,
    start: Instant,
    /// A keyed hash, so that an attacker cannot choose which keys share a set.
    keys: RandomState,
}

/// Too many failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// In seconds, at least one.
    pub(super) retry_after: u32,
    /// Whether the failures are those of this very key, and not those of others in a full table.
    pub(super) own: bool,
}

struct Debts {
    sets: Box<[Set]>,
    /// What a failure takes of the credit.
    cost: u64,
    /// The most credit.
    burst: u64,
}

#[derive(Default)]
struct Set {
    /// Whether there may be debts: most keys share a set with none, and are looked at no further.
    owes: AtomicBool,
    slots: Mutex<[Slot; WAYS]>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    /// 0 is a free slot, and has all its credit.
    word: u64,
}

impl Failures {
    pub(super) fn new(burst: NonZeroU32, every: Duration, capacity: usize) -> Self {
        Self {
            debts: Debts::new(burst, every, capacity),
            start: Instant::now(),
            keys: RandomState::new(),
        }
    }

    /// Whether this key may fail once more.
    pub(super) fn check(&self, key: impl Hash) -> Result<(), Exhausted> {
        self.debts.check(self.keys.hash_one(key), self.elapsed())
    }

    /// How many failures of this key are not forgiven yet.
    pub(super) fn owed(&self, key: impl Hash) -> u32 {
        self.debts.owed(self.keys.hash_one(key), self.elapsed())
    }

    pub(super) fn count(&self, key: impl Hash) {
        self.debts.count(self.keys.hash_one(key), self.elapsed());
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Debts {
    fn new(burst: NonZeroU32, every: Duration, capacity: usize) -> Self {
        let burst = u64::from(burst.get());
        let cost = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        // So that positions do not wrap around within centuries.
        let cost = cost.clamp(1, (u64::MAX >> 2) / burst);
        let sets = capacity.min(MOST).div_ceil(WAYS).max(1).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
            cost,
            burst: burst * cost,
        }
    }

    fn check(&self, key: u64, elapsed: u64) -> Result<(), Exhausted> {
        let set = self.set(key);
        if !set.owes.load(Ordering::Relaxed) {
            return Ok(());
        }
        let position = self.position(elapsed);
        let mut slots = set.lock();
        let slot = slots[place(&slots, key)];
        let mut word = slot.word;
        if let Err(then) = gcra::take(&mut word, self.cost, position, self.burst) {
            let seconds = then.wrapping_sub(position).div_ceil(SECOND).max(1);
            return Err(Exhausted {
                retry_after: u32::try_from(seconds).unwrap_or(u32::MAX),
                own: slot.is_of(key),
            });
        }
        let credit = |slot: &Slot| gcra::credit(slot.word, position, self.burst);
        if slots.iter().all(|slot| credit(slot) == self.burst) {
            *slots = Default::default();
            set.owes.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn owed(&self, key: u64, elapsed: u64) -> u32 {
        let set = self.set(key);
        if !set.owes.load(Ordering::Relaxed) {
            return 0;
        }
        let slots = set.lock();
        let word = slots[place(&slots, key)].word;
        let owed = self.burst - gcra::credit(word, self.position(elapsed), self.burst);
        u32::try_from(owed.div_ceil(self.cost)).unwrap_or(u32::MAX)
    }

    fn count(&self, key: u64, elapsed: u64) {
        let set = self.set(key);
        let mut slots = set.lock();
        let place = place(&slots, key);
        let slot = &mut slots[place];
        // Past the limit already: it does not get worse.
        if gcra::take(
            &mut slot.word,
            self.cost,
            self.position(elapsed),
            self.burst,
        )
        .is_ok()
        {
            set.owes.store(true, Ordering::Relaxed);
            slot.key = key;
        }
    }

    /// The set is chosen by the low bits; the whole hash tells keys apart within it.
    fn set(&self, key: u64) -> &Set {
        let set = usize::try_from(key % self.sets.len() as u64).unwrap_or(0);
        &self.sets[set]
    }

    /// Begins at the burst, so that a word of 0 has all its credit.
    fn position(&self, elapsed: u64) -> u64 {
        self.burst.saturating_add(elapsed)
    }
}

/// The key's own place, or else the one with the least debt.
fn place(slots: &[Slot; WAYS], key: u64) -> usize {
    let own = slots.iter().position(|slot| slot.is_of(key));
    let least = || (0..WAYS).min_by_key(|place| slots[*place].word);
    own.or_else(least).unwrap_or(0)
}

impl Slot {
    fn is_of(self, key: u64) -> bool {
        self.word != 0 && self.key == key
    }
}

impl Set {
    fn lock(&self) -> MutexGuard<'_, [Slot; WAYS]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_million_spoofed_sources_clear_no_debt_and_take_no_memory() {
        let every = Duration::from_micros(1);
        let debts = Debts::new(NonZeroU32::new(1 << 20).unwrap(), every, 65_536);
        // A boxed slice has one length from its beginning to its end.
        assert!(size_of_val(&*debts.sets) <= 65_536 * 18);
        // Nanoseconds into the limiter's life, at which all of this happens.
        let now = 1_000_000;
        let guilty = 0x1234_5678_9abc_def0;
        for _ in 0..3 {
            debts.count(guilty, now);
        }
        let mut hash = 1_u64;
        for _ in 0..10_000_000 {
            hash = hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            debts.count(hash.rotate_left(32), now);
        }
        let owed = debts.owed(guilty, now);
        assert!(owed >= 3, "{owed}");
    }

    #[test]
    fn a_burst_of_failures_is_free_and_each_is_forgiven_in_its_time() {
        let second = 1_000_000_000;
        let debts = Debts::new(NonZeroU32::new(3).unwrap(), Duration::from_secs(10), 8);
        let exhausted = |retry_after, own| Err(Exhausted { retry_after, own });
        for _ in 0..5 {
            debts.count(7, 0);
        }
        assert_eq!(debts.check(7, 0), exhausted(10, true));
        assert_eq!(debts.check(7, 9 * second + 1), exhausted(1, true));
        assert_eq!(debts.check(7, 10 * second), Ok(()));
        debts.count(7, 10 * second);
        assert_eq!(debts.check(7, 10 * second), exhausted(10, true));
        // A full table has no place for others, who are held to owe as much as the least indebted.
        for key in 10..17 {
            (0..3).for_each(|_| debts.count(key, 10 * second));
        }
        assert_eq!(debts.check(99, 10 * second), exhausted(10, false));
        assert_eq!(debts.check(99, 40 * second), Ok(()));
        assert!(!debts.set(99).owes.load(Ordering::Relaxed));
    }

    #[test]
    fn a_table_of_any_capacity_is_made() {
        for (capacity, sets) in [(0, 1), (8, 1), (9, 2), (usize::MAX, MOST / WAYS)] {
            for every in [Duration::ZERO, Duration::MAX] {
                let failures = Failures::new(NonZeroU32::MAX, every, capacity);
                assert_eq!(failures.debts.sets.len(), sets, "{capacity}");
                failures.count(1);
                assert_eq!(failures.check(1), Ok(()));
            }
        }
    }
}
