use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::util::gcra::{AHEAD, credit, spent, take};

const NANOS: u64 = 1_000_000_000;

/// So far off that nobody waits for it, as in tokio.
const FAR: Duration = Duration::from_secs(24 * 365 * 30 * 60 * 60);

/// A rate as a line through time: how many bytes it has let pass since its origin, modulo 2^64.
///
/// The position is computed from the whole time since the origin and never added up, so it does not
/// drift: it is exact to the byte, always.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    origin: Instant,
    base: u64,
    rate: u64,
    whole: u64,
    part: u64,
}

/// One key's state: how far along a [`Line`] its bytes have come. One atomic word.
///
/// This is the generic cell rate algorithm (ITU-T I.371) counted in bytes rather than in time: what
/// the clock is behind the line is the key's credit, at most the burst. Over any window no more
/// than the burst and the rate times the window is taken.
///
/// A clock that nobody looks at while its line moves on by 2^64 bytes less the burst (106 days at a
/// terabyte a second with the largest burst) may then find too little credit, never too much.
#[derive(Debug)]
pub struct Clock(AtomicU64);

impl Line {
    /// A line of `rate` bytes per second, at most [`MAX_RATE`](super::MAX_RATE), from `origin` on.
    pub fn new(rate: u64, origin: Instant) -> Self {
        Self::from_base(rate, origin, 0)
    }

    fn from_base(rate: u64, origin: Instant, base: u64) -> Self {
        Self {
            origin,
            base,
            rate,
            whole: rate / NANOS,
            part: rate % NANOS,
        }
    }

    /// The line that goes on from here at another rate: debts and credits stay what they are in
    /// bytes, the part of a byte that has become due too.
    pub fn at_rate(&self, rate: u64, now: Instant) -> Self {
        let elapsed = now.saturating_duration_since(self.origin);
        let part = u64::from(elapsed.subsec_nanos()) * self.part % NANOS;
        let before = Duration::from_nanos(part / rate.max(1));
        let origin = now.checked_sub(before).unwrap_or(now);
        Self::from_base(rate, origin, self.position(now))
    }

    /// The rate, in bytes per second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// How many bytes have become due by `now`, modulo 2^64, rounded down.
    #[inline]
    pub fn position(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin);
        let nanos = u64::from(elapsed.subsec_nanos());
        // With rate = whole * 10^9 + part, each product of the nanoseconds fits 64 bits.
        let within = nanos * self.whole + nanos * self.part / NANOS;
        let seconds = elapsed.as_secs().wrapping_mul(self.rate);
        self.base.wrapping_add(seconds).wrapping_add(within)
    }

    /// The first instant, to the nanosecond, at which the line is at `position`; `now` if it is
    /// there already.
    pub fn when(&self, position: u64, now: Instant) -> Instant {
        let ahead = position.wrapping_sub(self.position(now));
        if ahead == 0 || ahead > u64::MAX - AHEAD {
            return now;
        }
        let elapsed = now.saturating_duration_since(self.origin).as_nanos();
        let nanos = u128::from(NANOS);
        let rate = u128::from(self.rate.max(1));
        let passed = elapsed * rate / nanos;
        let due = ((passed + u128::from(ahead)) * nanos).div_ceil(rate);
        let wait = u64::try_from(due - elapsed).map_or(FAR, Duration::from_nanos);
        now + wait.min(FAR)
    }

    /// How long `bytes` take at this rate.
    pub fn time_for(&self, bytes: u64) -> Duration {
        let nanos = (u128::from(bytes) * u128::from(NANOS)).div_ceil(u128::from(self.rate.max(1)));
        u64::try_from(nanos).map_or(FAR, Duration::from_nanos)
    }
}

impl Clock {
    /// A clock with all its credit.
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
    /// The position of the line at which there would be so much credit. With more bytes than the
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
    /// clocks that threads share.
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

/// Of the words of two clocks, that of the one with less credit.
pub(super) fn later(one: u64, other: u64) -> u64 {
    let is_later = other.wrapping_sub(one) < 1 << 63;
    if is_later { other } else { one }
}
