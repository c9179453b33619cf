use std::sync::atomic::{AtomicU64, Ordering};

use crate::util::gcra::{credit, spent, take};

/// One key's state: how far along a [`Schedule`](super::Schedule) its bytes have come. One atomic word.
///
/// This is the generic cell rate algorithm (ITU-T I.371) counted in bytes rather than in time: what
/// the cell is behind the schedule is the key's credit, at most the burst. Over any window no more
/// than the burst and the rate times the window is taken.
///
/// A cell that nobody looks at while its schedule moves on by 2^64 bytes less the burst (106 days at a
/// terabyte a second with the largest burst) may then find too little credit, never too much.
#[derive(Debug)]
pub struct GcraCell(AtomicU64);

impl GcraCell {
    /// A cell with all its credit.
    pub fn new(position: u64, burst: u64) -> Self {
        Self(AtomicU64::new(position.wrapping_sub(burst)))
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(AtomicU64::new(word))
    }

    pub(super) fn word(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// What may be taken at once.
    pub fn credit(&self, position: u64, burst: u64) -> u64 {
        credit(self.word(), position, burst)
    }

    /// Takes `bytes`, all or none.
    ///
    /// # Errors
    /// The position of the schedule at which there would be so much credit. With more bytes than the
    /// burst that never comes.
    #[inline]
    pub fn take(&self, bytes: u64, position: u64, burst: u64) -> Result<(), u64> {
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
    pub fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Of the words of two cells, that of the one with less credit.
pub(super) fn later(one: u64, other: u64) -> u64 {
    let is_later = other.wrapping_sub(one) < 1 << 63;
    if is_later { other } else { one }
}
