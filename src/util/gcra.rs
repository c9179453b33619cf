//! The generic cell rate algorithm (ITU-T I.371), one word a key.
//!
//! A position moves along at the allowed rate, as time does; what it counts (bytes, nanoseconds) is up to the
//! caller. A key's word is the position up to which the key has spent: what the word is behind the position is
//! the key's credit, at most the burst. Positions wrap around.

/// How far a word may be ahead of the position that a thread looks at, because that thread read the
/// time earlier than another. What seems further ahead is far behind.
pub(crate) const AHEAD: u64 = 1 << 48;

/// Takes `amount` of the credit of `word`, all or nothing.
///
/// # Errors
/// The position at which there would be so much credit. With more than the burst that never comes.
#[inline]
pub(crate) fn take(word: &mut u64, amount: u64, position: u64, burst: u64) -> Result<(), u64> {
    let credit = credit(*word, position, burst);
    if credit < amount {
        return Err(spent(*word, position, burst).wrapping_add(amount));
    }
    *word = position.wrapping_sub(credit - amount);
    Ok(())
}

/// Returns the credit of `word`.
#[inline]
pub(crate) fn credit(word: u64, position: u64, burst: u64) -> u64 {
    let behind = position.wrapping_sub(word);
    if behind > u64::MAX - AHEAD {
        return 0;
    }
    behind.min(burst)
}

/// Returns the position at which the credit of `word` ran out or will.
pub(crate) fn spent(word: u64, position: u64, burst: u64) -> u64 {
    match credit(word, position, burst) {
        0 => word,
        credit => position.wrapping_sub(credit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_one_at_a_time() {
        let (burst, mut word) = (30, 0);
        for _ in 0..3 {
            assert_eq!(take(&mut word, 10, 1_000, burst), Ok(()));
        }
        assert_eq!(take(&mut word, 10, 1_000, burst), Err(1_010));
        assert_eq!(take(&mut word, 10, 1_009, burst), Err(1_010));
        assert_eq!(take(&mut word, 10, 1_010, burst), Ok(()));
        assert_eq!(credit(word, 5_000, burst), burst);
    }

    #[test]
    fn a_thread_that_read_the_time_too_early_finds_no_credit_rather_than_all() {
        assert_eq!(credit(1_000, 999, 30), 0);
        assert_eq!(credit(1_000, 1_000_u64.wrapping_sub(AHEAD + 1), 30), 30);
    }
}
