use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

/// In which period an answer is good, and for which generation of what it was found with. The generation and
/// the end of the period are in one word, so that they are always of the same answer. Of the generation the
/// word has the lower half: another with the same half comes after 2^32 reloads.
///
/// The begin of the period is a word of its own, by which a clock that is set back is noticed. It is written
/// before the other: a reader that sees an older one meets two answers of the same moment.
#[derive(Debug, Default)]
pub(crate) struct GoodUntil {
    word: AtomicU64,
    since: AtomicU64,
}

const HALF: u64 = u32::MAX as u64;

impl GoodUntil {
    /// Notes an answer with the first and the last second, after 1970, at which it is good.
    pub(crate) fn set(&self, generation: u64, period: RangeInclusive<u64>) {
        self.since.store(*period.start(), Ordering::Relaxed);
        let until = *period.end();
        self.word
            .store(generation << 32 | until.min(HALF), Ordering::Release);
    }

    /// Notes that no answer is good: generations are counted from 1.
    #[cfg(feature = "crl")]
    pub(crate) fn clear(&self) {
        self.word.store(0, Ordering::Release);
    }

    /// Whether the answer that was noted is good in this generation at this second after 1970.
    #[inline]
    pub(crate) fn is_good(&self, generation: u64, now: u64) -> bool {
        let word = self.word.load(Ordering::Acquire);
        let since = self.since.load(Ordering::Relaxed);
        word >> 32 == generation & HALF && since <= now && now <= word & HALF
    }

    /// The last second, after 1970, at which the answer is good in its generation.
    pub(crate) fn until(&self) -> u64 {
        self.word.load(Ordering::Acquire) & HALF
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(generation: u64, until: u64) -> GoodUntil {
        let word = GoodUntil::default();
        word.set(generation, 0..=until);
        word
    }

    #[test]
    fn an_answer_is_good_in_its_generation_until_its_end() {
        let word = noted(7, 1_000);
        assert_eq!(word.until(), 1_000);
        assert!(word.is_good(7, 999) && word.is_good(7, 1_000));
        assert!(!word.is_good(7, 1_001) && !word.is_good(8, 999) && !word.is_good(6, 999));
        let far = noted(1 << 40 | 3, u64::MAX);
        assert!(far.is_good(1 << 40 | 3, 4_000_000_000));
        assert!(!far.is_good(4, 0) && !far.is_good(1 << 40 | 3, u64::MAX));
    }

    #[test]
    fn an_answer_is_not_good_before_its_begin() {
        let word = GoodUntil::default();
        word.set(7, 100..=1_000);
        assert!(word.is_good(7, 100) && !word.is_good(7, 99));
    }

    #[test]
    fn without_an_answer_none_is_good() {
        let word = GoodUntil::default();
        assert!(!word.is_good(1, 0));
        #[cfg(feature = "crl")]
        {
            word.set(7, 0..=1_000);
            word.clear();
            assert!(!word.is_good(7, 0));
        }
    }
}
