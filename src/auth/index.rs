//! Finds a token by its digest in the same steps and with the same reads whether there is one or not.

/// Where the digests of tokens stand, in their order, by their first 64 bits.
pub(super) struct DigestIndex {
    heads: Box<[u64]>,
    /// Where to begin for each value of the leading bits.
    begins: Box<[u32]>,
    shift: u32,
    /// How many heads at most have the same leading bits.
    window: usize,
}

impl DigestIndex {
    /// Of digests in ascending order.
    pub(super) fn new<'a>(digests: impl Iterator<Item = &'a [u8; 32]>) -> Self {
        let heads: Box<[u64]> = digests.map(head).collect();
        // At least as many places as digests, and two, so that the shift is less than all 64 bits.
        let bits = heads.len().max(2).next_power_of_two().trailing_zeros();
        let shift = u64::BITS - bits;
        let places = 1_usize << bits;
        let mut begins = Vec::with_capacity(places);
        let mut window = 1;
        let mut at = 0;
        for place in 0..places as u64 {
            let begin = at;
            while heads.get(at).is_some_and(|head| head >> shift <= place) {
                at += 1;
            }
            window = window.max(at - begin);
            begins.push(u32::try_from(begin).unwrap_or(u32::MAX));
        }
        // A window never reaches beyond the end.
        let last = u32::try_from(heads.len().saturating_sub(window)).unwrap_or(u32::MAX);
        for begin in &mut begins {
            *begin = last.min(*begin);
        }
        Self {
            heads,
            begins: begins.into(),
            shift,
            window,
        }
    }

    /// The place of the only digest that can be this one. Of an unknown digest, of some other: the
    /// caller compares the whole.
    pub(super) fn candidate(&self, digest: &[u8; 32]) -> usize {
        let wanted = head(digest);
        let place = usize::try_from(wanted >> self.shift).unwrap_or(0);
        let begin = self.begins[place] as usize;
        let mut found = begin;
        for (offset, head) in self.heads[begin..].iter().take(self.window).enumerate() {
            // A choice of values, and no branch on what is found.
            found = if *head == wanted {
                begin + offset
            } else {
                found
            };
        }
        found
    }
}

/// A digest is as good a hash as any. Of two that agree in so many bits, which nobody has seen yet, one
/// would not be found.
fn head(digest: &[u8; 32]) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    fn digests(count: u32) -> Vec<[u8; 32]> {
        let of = |number: u32| Sha256::digest(number.to_le_bytes()).into();
        let mut digests: Vec<[u8; 32]> = (0..count).map(of).collect();
        digests.sort_unstable();
        digests
    }

    #[test]
    fn each_digest_is_found_and_an_unknown_one_leads_to_some_other() {
        for count in [1, 2, 3, 4, 5, 63, 64, 65, 1_000, 20_000] {
            let digests = digests(count);
            let index = DigestIndex::new(digests.iter());
            for (at, digest) in digests.iter().enumerate() {
                assert_eq!(index.candidate(digest), at, "{count}");
            }
            for number in 0..1_000_u32 {
                let unknown = Sha256::digest([number.to_be_bytes(), [7; 4]].concat()).into();
                assert!(index.candidate(&unknown) < digests.len());
            }
        }
    }

    proptest! {
        #[test]
        fn digests_with_the_same_beginning_are_all_found(
            mut digests in prop::collection::btree_set(any::<[u8; 2]>(), 1..40),
            first in prop::sample::select(vec![[0_u8; 4], [0xff; 4], [0x80, 0, 0, 0]]),
        ) {
            let last = digests.len();
            digests.insert([0xff, 0xff]);
            let digests: Vec<[u8; 32]> = digests.iter().enumerate().map(|(number, rest)| {
                let mut digest = [0; 32];
                // Half of them share their beginning.
                if number * 2 > last { digest[..4].copy_from_slice(&first); }
                digest[4..6].copy_from_slice(rest);
                digest
            }).collect();
            let mut digests = digests;
            digests.sort_unstable();
            let index = DigestIndex::new(digests.iter());
            for (at, digest) in digests.iter().enumerate() {
                prop_assert_eq!(index.candidate(digest), at);
            }
        }
    }
}
