use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::mem;

/// A map of bounded size that keeps the entries used last. It has two generations: when the young one has
/// half of the capacity it becomes the old one, and what was in the old one is evicted. So each step
/// takes the same time, and what is in use stays.
pub(crate) struct BoundedCache<K, V> {
    half: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V> BoundedCache<K, V> {
    /// Makes a cache of at most `capacity` entries, of which the half used last is never evicted. With a
    /// capacity below two it keeps nothing.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            half: capacity / 2,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// Returns the entry and counts it as used.
    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        // To look into an empty map takes a hash of the key too, which may be a whole certificate.
        if !self.old.is_empty()
            && let Some((key, value)) = self.old.remove_entry(key)
        {
            self.insert(key, value);
        }
        self.young.get(key)
    }

    /// Keeps the entry in the place of an earlier one of the same key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.half == 0 {
            return;
        }
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }
}

/// How many entries there are: they may be secrets.
impl<K, V> fmt::Debug for BoundedCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedCache")
            .field("young", &self.young.len())
            .field("old", &self.old.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let mut cache = BoundedCache::new(8);
        cache.insert(0, "first");
        for number in 1..100 {
            cache.insert(number, "other");
            assert_eq!(cache.get(&0), Some(&"first"));
            assert!(cache.young.len() + cache.old.len() <= 8);
        }
        // The four used last: 0 and three others.
        for number in [97, 98, 99, 0] {
            assert!(cache.get(&number).is_some(), "{number}");
        }
        assert_eq!(cache.get(&1), None);
    }

    #[test]
    fn a_later_entry_of_a_key_replaces_the_earlier_one() {
        let mut cache = BoundedCache::new(4);
        cache.insert(1, 'a');
        cache.insert(2, 'a');
        cache.insert(3, 'a');
        // In the old generation by now.
        cache.insert(1, 'b');
        assert_eq!(cache.get(&1), Some(&'b'));
        cache.insert(1, 'c');
        assert_eq!(cache.get(&1), Some(&'c'));
    }

    #[test]
    fn without_capacity_nothing_is_kept() {
        for capacity in [0, 1] {
            let mut cache = BoundedCache::new(capacity);
            cache.insert(1, 'a');
            assert_eq!(cache.get(&1), None);
        }
    }
}
