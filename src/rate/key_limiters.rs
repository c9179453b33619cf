use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hashbrown::HashTable;

use super::key_limiter::KeyLimiter;
use super::parameters::Parameters;
use crate::util::gcra::{credit, take};

const SHARDS: usize = 256;

/// With fewer keys, one shard would be full while others have room.
const KEYS_PER_SHARD: usize = 1024;

/// The limiters of a limit, by key. Bounded; a key is forgotten only when its debt is paid.
///
/// A key is known by a 64-bit `SipHash` with a secret of its own: a million keys meet once in 37 million such
/// tables. An idle key is its hash and its cell's word, 24 bytes.
#[derive(Debug)]
pub(super) struct KeyLimiters {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    keys: usize,
    most: usize,
    // Where the keys went when the room for them changed.
    moved: OnceLock<Arc<Self>>,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashTable<KeyEntry>,
    // What the keys share for which there was no room.
    overflow: Option<Arc<KeyLimiter>>,
    // Where the schedule was at the last sweep, and how far it has to move on before the next.
    swept: u64,
    pause: u64,
    is_moved: bool,
}

#[derive(Debug)]
struct KeyEntry {
    key: u64,
    word: u64,
    limiter: Option<Arc<KeyLimiter>>,
}

impl KeyLimiters {
    /// Room for `keys` keys.
    pub(super) fn new(keys: usize) -> Self {
        Self::with_hasher(keys, RandomState::new())
    }

    fn with_hasher(keys: usize, hasher: RandomState) -> Self {
        let shards = SHARDS.min((keys / KEYS_PER_SHARD).next_power_of_two());
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            hasher,
            keys,
            most: keys.div_ceil(shards),
            moved: OnceLock::new(),
        }
    }

    /// Returns the same keys with room for `keys`. Users of the old limiters are led to the new ones.
    pub(super) fn with_room(self: &Arc<Self>, keys: usize) -> Arc<Self> {
        if self.keys == keys {
            return Arc::clone(self);
        }
        let new = || Arc::new(Self::with_hasher(keys, self.hasher.clone()));
        let new = self.moved.get_or_init(new);
        for (index, shard) in self.shards.iter().enumerate() {
            let mut old = lock(shard);
            // What was one budget stays one, wherever its keys are looked for now.
            for shard in new.shards.iter().skip(index).step_by(self.shards.len()) {
                lock(shard).overflow.clone_from(&old.overflow);
            }
            for entry in std::mem::take(&mut old.entries) {
                let mut shard = lock(new.home(entry.key));
                let key = entry.key;
                shard.entries.insert_unique(key, entry, |entry| entry.key);
            }
            old.is_moved = true;
        }
        Arc::clone(new)
    }

    /// The short form of a key.
    pub(super) fn key(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The limiter of `key`, with all its credit if it is new.
    pub(super) fn limiter(
        &self,
        key: u64,
        parameters: Option<&Parameters>,
        position: u64,
    ) -> Arc<KeyLimiter> {
        let (most, mut shard) = self.shard(key);
        if let Some(entry) = shard.entries.find_mut(key, |entry| entry.key == key) {
            let word = entry.word;
            let limiter = entry
                .limiter
                .get_or_insert_with(|| Arc::new(KeyLimiter::new(word)));
            return limiter.hold();
        }
        let burst = parameters.map_or(0, |parameters| parameters.burst);
        let fresh = || Arc::new(KeyLimiter::new(position.wrapping_sub(burst)));
        if shard.is_full(most) {
            shard.sweep(position, burst);
            if shard.entries.len() >= most {
                return shard.overflow.get_or_insert_with(fresh).hold();
            }
        }
        let limiter = fresh();
        let entry = KeyEntry {
            key,
            word: 0,
            limiter: Some(limiter.hold()),
        };
        shard.entries.insert_unique(key, entry, |entry| entry.key);
        limiter
    }

    /// Gives a limiter back that a stream is done with. The last one leaves its word.
    pub(super) fn release(&self, key: u64, limiter: &KeyLimiter) {
        let (_, mut shard) = self.shard(key);
        if limiter.let_go()
            && let Some(entry) = shard.entries.find_mut(key, |entry| entry.key == key)
            && let Some(rested) = entry
                .limiter
                .take_if(|held| std::ptr::eq(&raw const **held, limiter))
        {
            entry.word = rested.word();
        }
    }

    /// Takes `bytes` at once for a key, if no stream waits for some of it.
    ///
    /// # Errors
    /// The position of the schedule at which there would be so much.
    pub(super) fn take(&self, key: u64, bytes: u64, position: u64, burst: u64) -> Result<(), u64> {
        let (most, mut shard) = self.shard(key);
        if let Some(entry) = shard.entries.find_mut(key, |entry| entry.key == key) {
            return match &entry.limiter {
                Some(limiter) => limiter.take(bytes, position, burst),
                None => take(&mut entry.word, bytes, position, burst),
            };
        }
        if shard.is_full(most) {
            shard.sweep(position, burst);
        }
        let mut word = position.wrapping_sub(burst);
        if shard.entries.len() >= most {
            let fresh = || Arc::new(KeyLimiter::new(word));
            let common = shard.overflow.get_or_insert_with(fresh);
            return common.take(bytes, position, burst);
        }
        let taken = take(&mut word, bytes, position, burst);
        let limiter = None;
        let entry = KeyEntry { key, word, limiter };
        shard.entries.insert_unique(key, entry, |entry| entry.key);
        taken
    }

    /// Gives back bytes that were taken at once and not sent.
    pub(super) fn give_back(&self, key: u64, bytes: u64) {
        let (_, mut shard) = self.shard(key);
        let limiter = match shard.entries.find_mut(key, |entry| entry.key == key) {
            Some(KeyEntry {
                limiter: None,
                word,
                ..
            }) => {
                *word = word.wrapping_sub(bytes);
                return;
            }
            Some(KeyEntry { limiter, .. }) => limiter.clone(),
            None => shard.overflow.clone(),
        };
        // Under the lock, or the limiter may be put to rest before, and leaves its word without them.
        if let Some(limiter) = &limiter {
            limiter.untake(bytes);
        }
        drop(shard);
        if let Some(limiter) = limiter {
            limiter.kick();
        }
    }

    /// How much memory the tables take.
    pub(super) fn memory(&self) -> usize {
        let memory = |shard: &Mutex<Shard>| {
            size_of::<Mutex<Shard>>() + lock(shard).entries.allocation_size()
        };
        self.shards.iter().map(memory).sum()
    }

    /// Where the cell of `key` stands, if it is remembered.
    pub(super) fn word(&self, key: u64) -> Option<u64> {
        let (_, shard) = self.shard(key);
        let entry = shard.entries.find(key, |entry| entry.key == key)?;
        let limiter = entry.limiter.as_ref();
        Some(limiter.map_or(entry.word, |limiter| limiter.word()))
    }

    /// How many keys are remembered.
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| lock(shard).entries.len();
        self.shards.iter().map(len).sum()
    }

    /// The shard of a key, wherever it is now, and how many keys it has room for.
    fn shard(&self, key: u64) -> (usize, MutexGuard<'_, Shard>) {
        let mut limiters = self;
        loop {
            let shard = lock(limiters.home(key));
            match limiters.moved.get() {
                Some(new) if shard.is_moved => limiters = new,
                _ => return (limiters.most, shard),
            }
        }
    }

    fn home(&self, key: u64) -> &Mutex<Shard> {
        // The table takes the low bits and the top seven.
        &self.shards[(key >> 32) as usize & (self.shards.len() - 1)]
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// Whether another key would make the table grow, or be one too many.
    fn is_full(&self, most: usize) -> bool {
        self.entries.len() >= self.entries.capacity().min(most)
    }

    /// Forgets the keys that are not used and owe nothing.
    fn sweep(&mut self, position: u64, burst: u64) {
        // Where many owe, looking again at once would find nothing new.
        if position.wrapping_sub(self.swept) < self.pause {
            return;
        }
        let before = self.entries.len();
        let longest = (burst / 16).max(1);
        let mut soonest = None;
        self.entries.retain(|entry| {
            let missing = burst - credit(entry.word, position, burst);
            if entry.limiter.is_none() && missing > 0 {
                soonest = Some(soonest.unwrap_or(longest).min(missing));
            }
            entry.limiter.is_some() || missing > 0
        });
        let few = before - self.entries.len() < before / 16;
        let twice = self.pause.saturating_mul(2).min(longest);
        let soonest = soonest.unwrap_or(0);
        // Not before another debt can be paid; and ever more rarely while few are.
        self.pause = if few { soonest.max(twice) } else { soonest };
        self.swept = position;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn nothing_that_is_given_back_is_lost_while_streams_come_and_go() {
        const ROUNDS: usize = 100_000;
        let limiters = KeyLimiters::new(16);
        let (key, burst) = (7, 1_000_000);
        limiters.take(key, burst, 0, burst).unwrap();
        let before = limiters.word(key);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let limiter = limiters.limiter(key, None, 0);
                    limiters.release(key, &limiter);
                }
            });
            for _ in 0..ROUNDS {
                limiters.give_back(key, 10);
                limiters.take(key, 10, 0, burst).unwrap();
            }
        });
        assert_eq!(limiters.word(key), before);
    }

    #[test]
    fn a_limiter_rests_as_a_word_once_its_last_user_is_gone() {
        let limiters = KeyLimiters::new(16);
        let (key, burst) = (7, 1_000);
        limiters.take(key, 400, 0, burst).unwrap();
        let users = [(); 2].map(|()| limiters.limiter(key, None, 0));
        assert!(Arc::ptr_eq(&users[0], &users[1]));
        users[0].take(100, 0, burst).unwrap();
        let resting = Arc::downgrade(&users[0]);
        for user in users {
            assert_eq!(limiters.word(key), Some(0_u64.wrapping_sub(500)));
            assert!(resting.strong_count() > 0);
            limiters.release(key, &user);
        }
        assert_eq!(resting.strong_count(), 0);
        assert_eq!(limiters.word(key), Some(0_u64.wrapping_sub(500)));
        assert_eq!(limiters.len(), 1);
    }

    #[test]
    fn a_paid_key_makes_room_however_large_the_burst() {
        let (limiters, burst) = (KeyLimiters::new(1024), 1 << 40);
        for key in 0..1024 {
            limiters.take(key, 1000, 0, burst).unwrap();
        }
        // Nothing is paid yet: two who come now share a budget.
        limiters.take(2000, burst, 0, burst).unwrap();
        limiters.take(2001, 1, 0, burst).unwrap_err();
        // A second later at a megabyte a second.
        limiters.take(2002, burst, 1_000_000, burst).unwrap();
        limiters.take(2003, burst, 1_000_000, burst).unwrap();
        assert_eq!(limiters.len(), 2);
    }

    #[test]
    fn a_sweep_forgets_what_owes_nothing_and_comes_again_when_the_next_debt_is_paid() {
        let burst = 1_600;
        let start = 10_000_u64;
        let add = |shard: &mut Shard, key: u64, missing: u64, is_used: bool| {
            let word = start.wrapping_sub(burst - missing);
            let limiter = is_used.then(|| Arc::new(KeyLimiter::new(word)));
            let entry = KeyEntry { key, word, limiter };
            shard.entries.insert_unique(key, entry, |entry| entry.key);
        };
        let keys = |shard: &Shard| {
            let mut keys: Vec<_> = shard.entries.iter().map(|entry| entry.key).collect();
            keys.sort_unstable();
            keys
        };
        let mut shard = Shard::default();
        for (key, missing, is_used) in [
            (1, 40, false),
            (2, 90, false),
            // What is used stays, and its debt is none to wait for.
            (3, 10, true),
            (4, 0, true),
            (5, 0, false),
        ] {
            add(&mut shard, key, missing, is_used);
        }
        for (position, left, swept, pause) in [
            (start, vec![1, 2, 3, 4], start, 40),
            (start + 39, vec![1, 2, 3, 4], start, 40),
            (start + 40, vec![2, 3, 4], start + 40, 50),
            (start + 90, vec![3, 4], start + 90, 0),
        ] {
            shard.sweep(position, burst);
            assert_eq!(keys(&shard), left);
            assert_eq!((shard.swept, shard.pause), (swept, pause), "{position}");
        }

        // Where less than a sixteenth is found, the next sweep comes later and later, within bounds.
        for (paid, before, pause) in [(1, 40, 80), (1, 70, 100), (2, 40, 60), (0, 0, 60)] {
            let mut shard = Shard {
                pause: before,
                ..Shard::default()
            };
            for key in 0..32 {
                add(&mut shard, key, if key < paid { 0 } else { 60 }, false);
            }
            shard.sweep(start, burst);
            assert_eq!(shard.pause, pause, "{paid} {before}");
        }
    }

    #[test]
    fn who_holds_the_old_limiters_is_led_to_the_new_ones() {
        let (old, burst) = (Arc::new(KeyLimiters::new(16)), 1_000);
        old.take(7, 400, 0, burst).unwrap();
        let new = old.with_room(4 * KEYS_PER_SHARD);
        assert!(new.shards.len() > old.shards.len());
        assert!(Arc::ptr_eq(&new, &old.with_room(4 * KEYS_PER_SHARD)));
        assert!(Arc::ptr_eq(&old, &old.with_room(16)));
        for key in [7, 7 << 32, 3 << 32] {
            old.take(key, 100, 0, burst).unwrap();
            assert_eq!(old.word(key), new.word(key), "{key}");
        }
        assert_eq!(new.word(7), Some(0_u64.wrapping_sub(500)));
        assert_eq!((old.len(), new.len()), (0, 3));
    }

    #[test]
    fn a_key_stays_where_it_is_until_its_shard_has_moved() {
        let (old, burst) = (Arc::new(KeyLimiters::new(16)), 1_000);
        old.take(7, 400, 0, burst).unwrap();
        // As for those who come while `with_room` has not come to their shard.
        let keys = 4 * KEYS_PER_SHARD;
        let new = Arc::new(KeyLimiters::with_hasher(keys, old.hasher.clone()));
        old.moved.set(Arc::clone(&new)).unwrap();
        old.take(7, 100, 0, burst).unwrap();
        assert_eq!((old.len(), new.len()), (1, 0));
        assert!(Arc::ptr_eq(&old.with_room(keys), &new));
        assert_eq!(new.word(7), Some(0_u64.wrapping_sub(500)));
    }

    #[test]
    fn sweeps_become_rare_while_they_find_little() {
        let (limiters, burst) = (KeyLimiters::new(1024), 1 << 20);
        for key in 0..1024 {
            limiters.take(key, 64 * (key + 1), 0, burst).unwrap();
        }
        let mut sweeps = 0;
        let mut swept = 0;
        for position in 0..burst / 16 {
            let _ = limiters.take(5000 + position, burst, position, burst);
            let shard = lock(&limiters.shards[0]);
            if shard.swept != swept {
                (swept, sweeps) = (shard.swept, sweeps + 1);
            }
        }
        assert!(sweeps < 100, "{sweeps}");
    }
}
