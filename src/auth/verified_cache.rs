use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Proofs that took long to check, remembered for a bounded time and in bounded number under a keyed
/// hash: whoever reads this memory without the key cannot even try passwords against it.
pub(super) struct Memory<V> {
    key: Zeroizing<[u8; 32]>,
    remember_for: Duration,
    capacity: usize,
    generations: Mutex<Generations<V>>,
}

/// The name of a proof: SHA-256 over the key and the proof.
pub(super) type Name = [u8; 32];

/// When the younger half is full it becomes the older one, and what was older is forgotten: each
/// step takes the same time, and what is in use stays.
struct Generations<V> {
    young: HashMap<Name, Remembered<V>>,
    old: HashMap<Name, Remembered<V>>,
}

#[derive(Clone)]
struct Remembered<V> {
    value: V,
    since: Instant,
}

impl<V: Clone> Memory<V> {
    /// `None` if the operating system has no random bytes for a key.
    pub(super) fn new(capacity: usize, remember_for: Duration) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).ok()?;
        Some(Self {
            key,
            remember_for,
            capacity,
            generations: Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        })
    }

    pub(super) fn name(&self, user: &[u8], secret: &[u8]) -> Name {
        // The key fills half a block and is never followed by less than eight bytes, so this is no
        // plain hash of anything; nobody sees it, so that it could be extended.
        let mut hash = Sha256::new_with_prefix(*self.key);
        hash.update((user.len() as u64).to_be_bytes());
        hash.update(user);
        hash.update(secret);
        hash.finalize().into()
    }

    pub(super) fn recall(&self, name: &Name) -> Option<V> {
        let mut generations = self.lock();
        let fresh = |remembered: &&Remembered<V>| remembered.since.elapsed() < self.remember_for;
        if let Some(remembered) = generations.young.get(name).filter(fresh) {
            return Some(remembered.value.clone());
        }
        let remembered = generations.old.get(name).filter(fresh)?.clone();
        let value = remembered.value.clone();
        self.keep(&mut generations, *name, remembered);
        Some(value)
    }

    pub(super) fn remember(&self, name: Name, value: V) {
        let since = Instant::now();
        self.keep(&mut self.lock(), name, Remembered { value, since });
    }

    fn keep(&self, generations: &mut Generations<V>, name: Name, remembered: Remembered<V>) {
        let half = self.capacity / 2;
        if half == 0 {
            return;
        }
        if generations.young.len() >= half && !generations.young.contains_key(&name) {
            generations.old = mem::take(&mut generations.young);
        }
        generations.young.insert(name, remembered);
    }

    fn lock(&self) -> MutexGuard<'_, Generations<V>> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_proof_is_forgotten_after_its_time_and_when_others_take_its_place() {
        let memory = Memory::new(8, Duration::from_mins(1)).unwrap();
        let name = |number: u8| memory.name(b"user", &[number]);
        memory.remember(name(0), 0);
        assert_eq!(memory.recall(&name(0)), Some(0));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(memory.recall(&name(0)), None);
        for number in 0..100 {
            memory.remember(name(number), number);
            // What is asked for again and again stays.
            assert_eq!(memory.recall(&name(0)), Some(0));
        }
        let kept = (0..100).filter(|&number| memory.recall(&name(number)).is_some());
        assert!(kept.count() <= 8);
    }

    #[test]
    fn a_colon_moved_between_user_and_password_makes_another_name() {
        let memory = Memory::<()>::new(8, Duration::from_mins(1)).unwrap();
        assert_ne!(memory.name(b"ab", b"c"), memory.name(b"a", b"bc"));
        let other = Memory::<()>::new(8, Duration::from_mins(1)).unwrap();
        assert_ne!(memory.name(b"a", b"b"), other.name(b"a", b"b"));
    }
}
