use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// How many texts are remembered of a connection; of more, none is sent.
const MOST: usize = 128;

/// What was sent on a connection.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Of this process: no client makes two texts of the same hash.
    hasher: RandomState,
    hashes: Mutex<HashSet<u64>>,
}

impl Said {
    /// Whether this caller is still to be sent this text. From then on it counts as sent.
    pub(super) fn is_new(&self, caller: &str, text: &str) -> bool {
        let hash = self.hasher.hash_one((caller, text));
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.len() < MOST && hashes.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_new_once_for_each_caller_and_no_connection_remembers_without_bound() {
        let said = Said::default();
        assert!(said.is_new("token:a", "one") && said.is_new("token:b", "one"));
        assert!(!said.is_new("token:a", "one"));
        let new = (0..1_000).filter(|number| said.is_new("token:a", &number.to_string()));
        assert_eq!(new.count(), MOST - 2);
    }
}
