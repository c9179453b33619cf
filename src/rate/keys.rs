use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use super::clock::credit;
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
        if shard.entries.len() >= shard.entries.capacity().min(self.most) {
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
    fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets those that nobody uses and that owe nothing.
    fn sweep(&mut self, position: u64, burst: u64) {
        self.entries
            .retain(|entry| entry.gate.is_some() || credit(entry.word, position, burst) < burst);
    }
}
