use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::util::bounded_cache::BoundedCache;

/// Caches proofs that took long to check, for a bounded time and in bounded number, under a keyed hash: an
/// attacker who reads the cache without the key cannot even try passwords against it.
pub(super) struct VerifiedCache<V> {
    key: Zeroizing<[u8; 32]>,
    remember_for: Duration,
    cache: Mutex<BoundedCache<Proof, Remembered<V>>>,
}

/// What stands for a proof: SHA-256 over the key and the proof.
pub(super) type Proof = [u8; 32];

struct Remembered<V> {
    value: V,
    since: Instant,
}

impl<V: Clone> VerifiedCache<V> {
    /// `None` if the operating system has no random bytes for a key.
    pub(super) fn new(capacity: usize, remember_for: Duration) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).ok()?;
        Some(Self {
            key,
            remember_for,
            cache: Mutex::new(BoundedCache::new(capacity)),
        })
    }

    pub(super) fn proof(&self, user: &[u8], secret: &[u8]) -> Proof {
        // The key fills half a block and is never followed by less than eight bytes, so this is no
        // plain hash of anything; it is never shown, so that it could be extended.
        let mut hash = Sha256::new_with_prefix(*self.key);
        hash.update((user.len() as u64).to_be_bytes());
        hash.update(user);
        hash.update(secret);
        hash.finalize().into()
    }

    pub(super) fn recall(&self, proof: &Proof) -> Option<V> {
        let mut cache = self.lock();
        let remembered = cache.get(proof)?;
        let is_fresh = remembered.since.elapsed() < self.remember_for;
        is_fresh.then(|| remembered.value.clone())
    }

    pub(super) fn remember(&self, proof: Proof, value: V) {
        let since = Instant::now();
        self.lock().insert(proof, Remembered { value, since });
    }

    fn lock(&self) -> MutexGuard<'_, BoundedCache<Proof, Remembered<V>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_proof_is_forgotten_after_its_time_and_when_others_take_its_place() {
        let cache = VerifiedCache::new(8, Duration::from_secs(60)).unwrap();
        let proof = |number: u8| cache.proof(b"user", &[number]);
        cache.remember(proof(0), 0);
        assert_eq!(cache.recall(&proof(0)), Some(0));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(cache.recall(&proof(0)), None);
        for number in 0..100 {
            cache.remember(proof(number), number);
            // What is asked for again and again stays.
            assert_eq!(cache.recall(&proof(0)), Some(0));
        }
        let kept = (0..100).filter(|&number| cache.recall(&proof(number)).is_some());
        assert!(kept.count() <= 8);
    }

    #[test]
    fn a_colon_moved_between_user_and_password_makes_another_name() {
        let cache = VerifiedCache::<()>::new(8, Duration::from_secs(60)).unwrap();
        assert_ne!(cache.proof(b"ab", b"c"), cache.proof(b"a", b"bc"));
        let other = VerifiedCache::<()>::new(8, Duration::from_secs(60)).unwrap();
        assert_ne!(cache.proof(b"a", b"b"), other.proof(b"a", b"b"));
    }
}
