use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// A set of 128-bit keys of a fixed size. Where one more does not fit, the one that was longest not
/// asked for goes: what is forgotten is refused until it is seen again.
#[derive(Debug)]
pub(super) struct Table {
    buckets: Box<[Mutex<Bucket>]>,
    /// Whether keys came or went since [`Table::take_changed`].
    changed: AtomicBool,
}

/// Newest first; zero is no key.
type Bucket = [u128; WAYS];

/// How many keys share a bucket. At half load fewer than one in ten thousand buckets overflows.
const WAYS: usize = 32;

/// Two slots a key, so 32 bytes, and a lock for each 32 slots.
const SLOTS_A_KEY: usize = 2;

/// How many bits of a key tell registries apart, below those that name a repository and a digest.
const NAME_AT: u32 = 88;

impl Default for Table {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        let buckets = (capacity * SLOTS_A_KEY).div_ceil(WAYS).max(1);
        Self {
            buckets: (0..buckets).map(|_| Mutex::new([0; WAYS])).collect(),
            changed: AtomicBool::new(false),
        }
    }

    /// The key of "this repository of this registry leads to this digest". Its upper bits are the
    /// same for every registry, see [`Table::name`].
    pub(super) fn key(registry: Option<&str>, repository: &str, digest: &str) -> u128 {
        let number = |hash: Sha256| {
            let hash: [u8; 32] = hash.finalize().into();
            u128::from_be_bytes(hash.first_chunk().copied().unwrap_or_default())
        };
        let mut hash = Sha256::new();
        // No part can contain what parts them.
        for part in [repository, digest] {
            hash.update(part);
            hash.update([0]);
        }
        let upper = number(hash.clone()) >> NAME_AT << NAME_AT;
        hash.update(registry.unwrap_or_default());
        (upper | number(hash) >> (128 - NAME_AT)).max(1)
    }

    /// What keys of the same repository and digest have in common, whatever the registry. Two others
    /// have the same by chance only, and seldom: it decides what is forgotten, never what is given.
    pub(super) fn name(key: u128) -> u64 {
        // 40 bits are left.
        u64::try_from(key >> NAME_AT).unwrap_or_default()
    }

    /// Gives whether it is new.
    pub(super) fn insert(&self, key: u128) -> bool {
        self.with_bucket(key, |bucket| {
            let at = bucket.iter().position(|found| *found == key);
            // The last is either free or the one that goes.
            bucket[..=at.unwrap_or(WAYS - 1)].rotate_right(1);
            bucket[0] = key;
            if at.is_none() {
                // With the bucket still locked, so that a thread which reads the keys after having taken the
                // mark sees this one or finds the mark again.
                self.changed.store(true, Ordering::Relaxed);
            }
            at.is_none()
        })
    }

    /// Removes the key, and those of the same repository and digest of other registries.
    pub(super) fn remove(&self, key: u128) {
        self.with_bucket(key, |bucket| {
            let before = *bucket;
            bucket.fill(0);
            let others = |found: &u128| *found != 0 && Self::name(*found) != Self::name(key);
            let kept = before.into_iter().filter(others);
            for (slot, found) in bucket.iter_mut().zip(kept) {
                *slot = found;
            }
            if *bucket != before {
                self.changed.store(true, Ordering::Relaxed);
            }
        });
    }

    pub(super) fn contains(&self, key: u128) -> bool {
        self.with_bucket(key, |bucket| {
            let at = bucket.iter().position(|found| *found == key);
            if let Some(at) = at {
                bucket[..=at].rotate_right(1);
            }
            at.is_some()
        })
    }

    /// Returns every key, in an order in which [`Table::insert`] puts those longest not asked for last. Blocks
    /// a look-up of one of 32 keys for as long as those are copied.
    pub(super) fn keys(&self) -> impl Iterator<Item = u128> {
        let copies = self
            .buckets
            .iter()
            .map(|bucket| *bucket.lock().unwrap_or_else(PoisonError::into_inner));
        copies.flat_map(|bucket| bucket.into_iter().rev().filter(|key| *key != 0))
    }

    /// Whether keys came or went since this was last asked.
    pub(super) fn take_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// Takes [`Table::take_changed`] back.
    pub(super) fn mark_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Bytes of memory that the table takes, however full it is.
    pub(super) fn memory(&self) -> usize {
        size_of_val::<[Mutex<Bucket>]>(&self.buckets)
    }

    fn with_bucket<T>(&self, key: u128, use_it: impl FnOnce(&mut Bucket) -> T) -> T {
        // The name chooses, which is a hash already, so that all of a name are together.
        let upper = u128::from(Self::name(key));
        let at = (upper * self.buckets.len() as u128) >> (128 - NAME_AT);
        // Below the length, since a name is below 2^40.
        let at = usize::try_from(at).unwrap_or_default();
        let mut bucket = self.buckets[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        use_it(&mut bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> u128 {
        Table::key(
            Some("docker.io"),
            "library/x",
            &format!("sha256:{number:064x}"),
        )
    }

    /// What a hash looks like, in less time.
    fn mixed(number: usize) -> u128 {
        let mix = |number: u64| {
            let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let number = number as u64 + 1;
        (u128::from(mix(number)) << 64) | u128::from(mix(number << 32))
    }

    #[test]
    fn a_million_digests_are_kept_at_less_than_64_bytes_each() {
        let count = 1_000_000;
        let table = Table::new(count);
        assert!(table.memory() <= 64 * count, "{} bytes", table.memory());
        (0..count).for_each(|number| assert!(table.insert(mixed(number))));
        let lost = (0..count)
            .filter(|number| !table.contains(mixed(*number)))
            .count();
        assert!(lost < count / 10_000, "{lost} lost");
        let invented = (count..2 * count)
            .filter(|number| table.contains(mixed(*number)))
            .count();
        assert_eq!(invented, 0);
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let table = Table::new(100);
        table.insert(key(0));
        for number in 1..10_000 {
            table.insert(key(number));
            assert!(table.contains(key(0)));
            assert!(table.contains(key(number)));
        }
        let kept = (1..10_000)
            .filter(|number| table.contains(key(*number)))
            .count();
        assert!(kept <= 224, "{kept}");
    }

    #[test]
    fn what_is_removed_is_gone_and_the_rest_stays() {
        let table = Table::new(1);
        (0..20).for_each(|number| assert!(table.insert(key(number))));
        assert!(table.take_changed());
        table.remove(key(7));
        table.remove(key(99));
        assert!(table.take_changed());
        assert!(!table.take_changed());
        let kept: Vec<bool> = (0..20).map(|number| table.contains(key(number))).collect();
        assert_eq!(kept.iter().filter(|kept| !**kept).count(), 1);
        assert!(!kept[7]);
    }

    #[test]
    fn what_is_removed_is_gone_for_every_registry() {
        let table = Table::new(100);
        let digest = format!("sha256:{:064x}", 1);
        let of = |registry| Table::key(registry, "library/x", &digest);
        let registries = [None, Some("docker.io"), Some("quay.io")];
        for registry in registries {
            assert!(table.insert(of(registry)));
            assert!(!table.insert(of(registry)));
        }
        assert_eq!(table.keys().count(), 3);
        let other = Table::key(None, "library/y", &digest);
        table.insert(other);
        table.remove(of(Some("elsewhere")));
        assert!(
            registries
                .iter()
                .all(|registry| !table.contains(of(*registry)))
        );
        assert!(table.contains(other));
    }

    #[test]
    fn only_what_comes_and_goes_is_a_change() {
        let table = Table::new(10);
        assert!(!table.take_changed());
        table.insert(key(1));
        assert!(table.take_changed());
        table.insert(key(1));
        assert!(table.contains(key(1)));
        table.remove(key(2));
        assert!(!table.take_changed());
    }
}
