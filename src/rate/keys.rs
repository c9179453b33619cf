use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hashbrown::HashTable;

use super::gate::{Gate, Terms};
use crate::util::gcra::{credit, take};

const SHARDS: usize = 256;

/// With fewer keys, one shard would be full while others have room.
const KEYS_PER_SHARD: usize = 1024;

/// The gates of a limit, by key. Bounded; a key is forgotten only when its debt is paid.
///
/// A key is known by a 64-bit `SipHash` with a secret of its own: a million keys meet once in 37
/// million such tables. At rest a key is its hash and its clock's word, 24 bytes.
#[derive(Debug)]
pub(super) struct Gates {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    keys: usize,
    most: usize,
    // Where the keys went when the room for them changed.
    moved: OnceLock<Arc<Self>>,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashTable<Entry>,
    // What the keys share for which there was no room.
    overflow: Option<Arc<Gate>>,
    // Where the line was at the last sweep, and how far it has to move on before the next.
    swept: u64,
    pause: u64,
    is_moved: bool,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    word: u64,
    gate: Option<Arc<Gate>>,
}

impl Gates {
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

    /// The same keys with room for `keys`. Whoever still holds these gates is led to the new ones.
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

    /// The gate of `key`, with all its credit if it is new.
    pub(super) fn gate(&self, key: u64, terms: Option<&Terms>, position: u64) -> Arc<Gate> {
        let (most, mut shard) = self.shard(key);
        if let Some(entry) = shard.entries.find_mut(key, |entry| entry.key == key) {
            let word = entry.word;
            let gate = entry.gate.get_or_insert_with(|| Arc::new(Gate::new(word)));
            return gate.hold();
        }
        let burst = terms.map_or(0, |terms| terms.burst);
        let fresh = || Arc::new(Gate::new(position.wrapping_sub(burst)));
        if shard.is_full(most) {
            shard.sweep(position, burst);
            if shard.entries.len() >= most {
                return shard.overflow.get_or_insert_with(fresh).hold();
            }
        }
        let gate = fresh();
        let entry = Entry {
            key,
            word: 0,
            gate: Some(gate.hold()),
        };
        shard.entries.insert_unique(key, entry, |entry| entry.key);
        gate
    }

    /// Gives a gate back that a stream is done with. The last one leaves its word.
    pub(super) fn release(&self, key: u64, gate: &Gate) {
        let (_, mut shard) = self.shard(key);
        if gate.let_go()
            && let Some(entry) = shard.entries.find_mut(key, |entry| entry.key == key)
            && let Some(rested) = entry
                .gate
                .take_if(|held| std::ptr::eq(&raw const **held, gate))
        {
            entry.word = rested.word();
        }
    }

    /// Takes `bytes` at once for a key, if no stream waits for some of it.
    ///
    /// # Errors
    /// The position of the line at which there would be so much.
    pub(super) fn take(&self, key: u64, bytes: u64, position: u64, burst: u64) -> Result<(), u64> {
        let (most, mut shard) = self.shard(key);
        if let Some(entry) = shard.entries.find_mut(key, |entry| entry.key == key) {
            return match &entry.gate {
                Some(gate) => gate.take(bytes, position, burst),
                None => take(&mut entry.word, bytes, position, burst),
            };
        }
        if shard.is_full(most) {
            shard.sweep(position, burst);
        }
        let mut word = position.wrapping_sub(burst);
        if shard.entries.len() >= most {
            let fresh = || Arc::new(Gate::new(word));
            let common = shard.overflow.get_or_insert_with(fresh);
            return common.take(bytes, position, burst);
        }
        let taken = take(&mut word, bytes, position, burst);
        let gate = None;
        let entry = Entry { key, word, gate };
        shard.entries.insert_unique(key, entry, |entry| entry.key);
        taken
    }

    /// Gives back bytes that were taken at once and not sent.
    pub(super) fn give_back(&self, key: u64, bytes: u64) {
        let (_, mut shard) = self.shard(key);
        let gate = match shard.entries.find_mut(key, |entry| entry.key == key) {
            Some(Entry {
                gate: None, word, ..
            }) => {
                *word = word.wrapping_sub(bytes);
                return;
            }
            Some(Entry { gate, .. }) => gate.clone(),
            None => shard.overflow.clone(),
        };
        // Under the lock, or the gate may be put to rest before, and leaves its word without them.
        if let Some(gate) = &gate {
            gate.untake(bytes);
        }
        drop(shard);
        if let Some(gate) = gate {
            gate.kick();
        }
    }

    /// How much memory the tables take.
    pub(super) fn memory(&self) -> usize {
        let memory = |shard: &Mutex<Shard>| {
            size_of::<Mutex<Shard>>() + lock(shard).entries.allocation_size()
        };
        self.shards.iter().map(memory).sum()
    }

    /// Where the clock of `key` stands, if it is remembered.
    pub(super) fn word(&self, key: u64) -> Option<u64> {
        let (_, shard) = self.shard(key);
        let entry = shard.entries.find(key, |entry| entry.key == key)?;
        let gate = entry.gate.as_ref();
        Some(gate.map_or(entry.word, |gate| gate.word()))
    }

    /// How many keys are remembered.
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| lock(shard).entries.len();
        self.shards.iter().map(len).sum()
    }

    /// The shard of a key, wherever it is now, and how many keys it has room for.
    fn shard(&self, key: u64) -> (usize, MutexGuard<'_, Shard>) {
        let mut gates = self;
        loop {
            let shard = lock(gates.home(key));
            match gates.moved.get() {
                Some(new) if shard.is_moved => gates = new,
                _ => return (gates.most, shard),
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

    /// Forgets those that nobody uses and that owe nothing.
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
            if entry.gate.is_none() && missing > 0 {
                soonest = Some(soonest.unwrap_or(longest).min(missing));
            }
            entry.gate.is_some() || missing > 0
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
        let gates = Gates::new(16);
        let (key, burst) = (7, 1_000_000);
        gates.take(key, burst, 0, burst).unwrap();
        let before = gates.word(key);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let gate = gates.gate(key, None, 0);
                    gates.release(key, &gate);
                }
            });
            for _ in 0..ROUNDS {
                gates.give_back(key, 10);
                gates.take(key, 10, 0, burst).unwrap();
            }
        });
        assert_eq!(gates.word(key), before);
    }

    #[test]
    fn a_paid_key_makes_room_however_large_the_burst() {
        let (gates, burst) = (Gates::new(1024), 1 << 40);
        for key in 0..1024 {
            gates.take(key, 1000, 0, burst).unwrap();
        }
        // Nothing is paid yet: two who come now share a budget.
        gates.take(2000, burst, 0, burst).unwrap();
        gates.take(2001, 1, 0, burst).unwrap_err();
        // A second later at a megabyte a second.
        gates.take(2002, burst, 1_000_000, burst).unwrap();
        gates.take(2003, burst, 1_000_000, burst).unwrap();
        assert_eq!(gates.len(), 2);
    }

    #[test]
    fn sweeps_become_rare_while_they_find_little() {
        let (gates, burst) = (Gates::new(1024), 1 << 20);
        for key in 0..1024 {
            gates.take(key, 64 * (key + 1), 0, burst).unwrap();
        }
        let mut sweeps = 0;
        let mut swept = 0;
        for position in 0..burst / 16 {
            let _ = gates.take(5000 + position, burst, position, burst);
            let shard = lock(&gates.shards[0]);
            if shard.swept != swept {
                (swept, sweeps) = (shard.swept, sweeps + 1);
            }
        }
        assert!(sweeps < 100, "{sweeps}");
    }
}
