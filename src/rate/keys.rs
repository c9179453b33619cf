use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use super::clock::{credit, take};
use super::gate::{Gate, Terms};

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
    most: usize,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashTable<Entry>,
    // What the keys share for which there was no room.
    overflow: Option<Arc<Gate>>,
    // Where the line was at the last sweep.
    swept: Option<u64>,
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
        let shards = SHARDS.min((keys / KEYS_PER_SHARD).next_power_of_two());
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            most: keys.div_ceil(shards),
        }
    }

    /// The short form of a key.
    pub(super) fn key(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The gate of `key`, with all its credit if it is new.
    pub(super) fn gate(&self, key: u64, terms: Option<&Terms>, position: u64) -> Arc<Gate> {
        let mut shard = self.shard(key);
        if let Some(entry) = shard.entries.find_mut(key, |entry| entry.key == key) {
            let word = entry.word;
            let gate = entry.gate.get_or_insert_with(|| Arc::new(Gate::new(word)));
            return gate.hold();
        }
        let burst = terms.map_or(0, |terms| terms.burst);
        let fresh = || Arc::new(Gate::new(position.wrapping_sub(burst)));
        if shard.is_full(self.most) {
            shard.sweep(position, burst);
            if shard.entries.len() >= self.most {
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
        let mut shard = self.shard(key);
        if gate.let_go()
            && let Some(entry) = shard.entries.find_mut(key, |entry| entry.key == key)
            && let Some(rested) = entry
                .gate
                .take_if(|held| std::ptr::eq(&raw const **held, gate))
        {
            entry.word = rested.clock().word();
        }
    }

    /// Takes `bytes` at once for a key, if no stream waits for some of it.
    ///
    /// # Errors
    /// The position of the line at which there would be so much.
    pub(super) fn take(&self, key: u64, bytes: u64, position: u64, burst: u64) -> Result<(), u64> {
        let mut shard = self.shard(key);
        if let Some(entry) = shard.entries.find_mut(key, |entry| entry.key == key) {
            return match &entry.gate {
                Some(gate) => gate.take(bytes, position, burst),
                None => take(&mut entry.word, bytes, position, burst),
            };
        }
        if shard.is_full(self.most) {
            shard.sweep(position, burst);
        }
        let mut word = position.wrapping_sub(burst);
        if shard.entries.len() >= self.most {
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
        let mut shard = self.shard(key);
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
        drop(shard);
        if let Some(gate) = gate {
            gate.give_back(bytes);
        }
    }

    /// How much memory the tables take.
    pub(super) fn memory(&self) -> usize {
        let lock = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            size_of::<Mutex<Shard>>() + shard.entries.allocation_size()
        };
        self.shards.iter().map(lock).sum()
    }

    /// Where the clock of `key` stands, if it is remembered.
    pub(super) fn word(&self, key: u64) -> Option<u64> {
        let shard = self.shard(key);
        let entry = shard.entries.find(key, |entry| entry.key == key)?;
        let gate = entry.gate.as_ref();
        Some(gate.map_or(entry.word, |gate| gate.clock().word()))
    }

    /// How many keys are remembered.
    pub(super) fn len(&self) -> usize {
        let lock =
            |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(lock).sum()
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The table takes the low bits and the top seven.
        let index = (key >> 32) as usize & (self.shards.len() - 1);
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Whether another key would make the table grow, or be one too many.
    fn is_full(&self, most: usize) -> bool {
        self.entries.len() >= self.entries.capacity().min(most)
    }

    fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets those that nobody uses and that owe nothing.
    fn sweep(&mut self, position: u64, burst: u64) {
        // Where many owe, looking again at once would find nothing new.
        if self
            .swept
            .is_some_and(|swept| position.wrapping_sub(swept) < burst / 16)
        {
            return;
        }
        self.swept = Some(position);
        self.entries
            .retain(|entry| entry.gate.is_some() || credit(entry.word, position, burst) < burst);
    }
}
