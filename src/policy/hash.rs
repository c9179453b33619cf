use std::hash::{BuildHasherDefault, Hasher};

/// A map by the operator's own words: a client chooses the key of a look-up, but only the operator puts entries
/// in, so that no flood of keys can fall into one place.
pub(super) type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Words>>;

/// Eight bytes at a time, by a multiplication of which both halves count (as in foldhash and wyhash).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Words(u64);

impl Words {
    fn add(&mut self, word: u64) {
        // The golden ratio's bits. What is added first keeps zeros from staying zeros.
        let mixed = self.0.wrapping_add(0xf39c_c060_5ced_c835) ^ word;
        let product = u128::from(mixed) * 0x9e37_79b9_7f4a_7c15;
        let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
        self.0 = u64::try_from(low ^ high).unwrap_or_default();
    }
}

impl Hasher for Words {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        // With its length, which tells "a" from "a\0".
        let mut last = u64::from(u8::try_from(rest.len()).unwrap_or_default());
        for byte in rest {
            last = last << 8 | u64::from(*byte);
        }
        self.add(last);
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.add(number.cast_unsigned() as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn names_that_differ_little_spread_over_a_table() {
        let build = BuildHasherDefault::<Words>::default();
        let names = || (0..10_000).map(|number| format!("team-{number}"));
        let hashes: HashSet<u64> = names().map(|name| build.hash_one(name)).collect();
        assert_eq!(hashes.len(), 10_000);
        // Where a table looks first, and by what it tells apart what is there.
        let places: HashSet<u64> = hashes.iter().map(|hash| hash & 0x3fff).collect();
        let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(places.len() > 6_000, "{}", places.len());
        assert_eq!(tags.len(), 128);
    }
}
