use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// A set of 128-bit keys of a fixed size. Where one more does not fit, the one that was longest not
/// asked for goes: what is forgotten is refused until it is seen again.
#[derive(Debug)]
pub(super) struct Table {
    buckets: Box<[Mutex<Bucket>]>,
}

/// Newest first; zero is no key.
type Bucket = [u128; WAYS];

/// How many keys share a bucket. At half load fewer than one in ten thousand buckets overflows.
const WAYS: usize = 32;

/// Two slots a key, so 32 bytes, and a lock for each 32 slots.
const SLOTS_A_KEY: usize = 2;

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        let buckets = (capacity * SLOTS_A_KEY).div_ceil(WAYS).max(1);
        Self {
            buckets: (0..buckets).map(|_| Mutex::new([0; WAYS])).collect(),
        }
    }

    /// The key of "this repository of this registry leads to this digest". No part can contain
    /// what parts them.
    pub(super) fn key(registry: Option<&str>, repository: &str, digest: &str) -> u128 {
        let mut hash = Sha256::new();
        for part in [registry.unwrap_or_default(), repository, digest] {
            hash.update(part);
            hash.update([0]);
        }
        let hash: [u8; 32] = hash.finalize().into();
        let half = hash.first_chunk().copied().unwrap_or_default();
        u128::from_le_bytes(half).max(1)
    }

    pub(super) fn insert(&self, key: u128) {
        self.with_bucket(key, |bucket| {
            let at = bucket.iter().position(|found| *found == key);
            // The last is either free or the one that goes.
            bucket[..=at.unwrap_or(WAYS - 1)].rotate_right(1);
            bucket[0] = key;
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

    pub(super) fn write_to(&self, mut writer: impl Write) -> io::Result<()> {
        for bucket in &self.buckets {
            let bucket = *bucket.lock().unwrap_or_else(PoisonError::into_inner);
            for key in bucket.iter().rev().filter(|key| **key != 0) {
                writer.write_all(&key.to_le_bytes())?;
            }
        }
        writer.flush()
    }

    pub(super) fn read_from(&self, mut reader: impl Read) -> io::Result<()> {
        let mut key = [0; 16];
        loop {
            match reader.read(&mut key[..1])? {
                0 => return Ok(()),
                _ => reader.read_exact(&mut key[1..])?,
            }
            self.insert(u128::from_le_bytes(key).max(1));
        }
    }

    /// Bytes of memory that the table takes, however full it is.
    pub(super) fn memory(&self) -> usize {
        size_of_val::<[Mutex<Bucket>]>(&self.buckets)
    }

    fn with_bucket<T>(&self, key: u128, use_it: impl FnOnce(&mut Bucket) -> T) -> T {
        // The upper half chooses; the keys are hashes already.
        let upper = (key >> 64) & u128::from(u64::MAX);
        let at = (upper * self.buckets.len() as u128) >> 64;
        // Below the length, since `upper` is below 2^64.
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
        (0..count).for_each(|number| table.insert(mixed(number)));
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
    fn a_table_is_the_same_after_it_was_written_and_read() {
        let table = Table::new(1000);
        (0..500).for_each(|number| table.insert(key(number)));
        let mut file = Vec::new();
        table.write_to(&mut file).unwrap();
        let again = Table::new(1000);
        again.read_from(&*file).unwrap();
        assert!((0..500).all(|number| again.contains(key(number))));
        assert!(again.read_from(&file[..15]).is_err());
    }
}
