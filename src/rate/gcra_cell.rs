use std::sync::atomic::{AtomicU64, Ordering};

use crate::util::gcra::{credit, spent, take};

/// The state of one key, one atomic word: how far along a [`Schedule`](super::schedule::Schedule) the key's bytes have
/// come.
///
/// This is the generic cell rate algorithm (ITU-T I.371) counted in bytes rather than in time: what the cell is
/// behind the schedule is the key's credit, at most the burst. No more than the burst and the rate times the
/// window is taken over any window.
///
/// A cell that is not read while its schedule moves on by 2^64 bytes less the burst (106 days at a terabyte a
/// second with the largest burst) may then have too little credit, never too much.
#[derive(Debug)]
pub(super) struct GcraCell(AtomicU64);

impl GcraCell {
    /// Makes a cell with all its credit.
    pub(super) fn new(position: u64, burst: u64) -> Self {
        Self(AtomicU64::new(position.wrapping_sub(burst)))
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(AtomicU64::new(word))
    }

    pub(super) fn word(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns how many bytes may be taken at once.
    pub(super) fn credit(&self, position: u64, burst: u64) -> u64 {
        credit(self.word(), position, burst)
    }

    /// Takes `bytes`, all or none.
    ///
    /// # Errors
    /// Returns the position of the schedule at which there is so much credit. For more bytes than the burst
    /// that position never comes.
    #[inline]
    pub(super) fn take(&self, bytes: u64, position: u64, burst: u64) -> Result<(), u64> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let mut next = word;
            take(&mut next, bytes, position, burst)?;
            let swapped =
                self.0
                    .compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return Ok(()),
                Err(newer) => word = newer,
            }
        }
    }

    /// Takes `bytes` of the credit, and owes what is missing. Earlier debts are forgotten. Not for
    /// cells that threads share.
    pub(super) fn charge(&self, bytes: u64, position: u64, burst: u64) {
        let credit = self.credit(position, burst);
        let word = position.wrapping_sub(credit).wrapping_add(bytes);
        self.0.store(word, Ordering::Relaxed);
    }

    /// The position at which the credit ran out or will.
    pub(super) fn spent(&self, position: u64, burst: u64) -> u64 {
        spent(self.word(), position, burst)
    }

    /// Gives back bytes that were taken and not sent.
    pub(super) fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Of the words of two cells, that of the one with less credit.
pub(super) fn later(one: u64, other: u64) -> u64 {
    let is_later = other.wrapping_sub(one) < 1 << 63;
    if is_later { other } else { one }
}
