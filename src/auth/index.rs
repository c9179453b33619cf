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
    /// Of the first 64 bits of digests, in ascending order.
    ///
    /// A digest is as good a hash as any. Of two that agree in so many bits, which nobody has seen yet, one
    /// would not be found.
    pub(super) fn new(heads: impl Iterator<Item = u64>) -> Self {
        let heads: Box<[u64]> = heads.collect();
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

    /// The place of the only digest that can begin so. Of an unknown one, of some other: the caller
    /// compares the whole.
    pub(super) fn candidate(&self, wanted: u64) -> usize {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::sha256::sha256;

    fn heads(count: u32) -> Vec<u64> {
        let of = |number: u32| sha256(&number.to_le_bytes())[0];
        let mut heads: Vec<u64> = (0..count).map(of).collect();
        heads.sort_unstable();
        heads
    }

    #[test]
    fn each_digest_is_found_and_an_unknown_one_leads_to_some_other() {
        for count in [1, 2, 3, 4, 5, 63, 64, 65, 1_000, 20_000] {
            let heads = heads(count);
            let index = DigestIndex::new(heads.iter().copied());
            for (at, head) in heads.iter().enumerate() {
                assert_eq!(index.candidate(*head), at, "{count}");
            }
            for number in 0..1_000_u32 {
                let unknown = sha256(&[number.to_be_bytes(), [7; 4]].concat())[0];
                assert!(index.candidate(unknown) < heads.len());
            }
        }
    }

    proptest! {
        #[test]
        fn digests_with_the_same_beginning_are_all_found(
            heads in prop::collection::btree_set(any::<u16>(), 1..40),
            first in prop::sample::select(vec![0_u64, u64::MAX << 32, 1 << 63]),
        ) {
            let last = heads.len();
            let mut heads: Vec<u64> = heads.iter().enumerate().map(|(number, rest)| {
                // Half of them share their beginning.
                let first = if number * 2 > last { first } else { 0 };
                first | u64::from(*rest) << 16
            }).collect();
            heads.sort_unstable();
            heads.dedup();
            let index = DigestIndex::new(heads.iter().copied());
            for (at, head) in heads.iter().enumerate() {
                prop_assert_eq!(index.candidate(*head), at);
            }
        }
    }
}
