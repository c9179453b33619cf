use std::time::Duration;

use tokio::time::Instant;

use crate::util::gcra::AHEAD;

const NANOS: u64 = 1_000_000_000;

/// As good as never, as in tokio.
const FAR: Duration = Duration::from_secs(24 * 365 * 30 * 60 * 60);

/// A rate as a schedule through time: how many bytes it has let pass since its origin, modulo 2^64.
///
/// The position is computed from the whole time since the origin and never added up, so it does not drift: it
/// is always exact to the byte.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    origin: Instant,
    base: u64,
    rate: u64,
    whole: u64,
    part: u64,
}

impl Schedule {
    /// Makes a schedule of `rate` bytes per second, at most [`MAX_RATE`](super::MAX_RATE), from `origin` on.
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

    /// Returns the schedule that goes on from `now` at another rate: debts and credits stay what they are in
    /// bytes, and so does the part of a byte that is due.
    pub fn at_rate(&self, rate: u64, now: Instant) -> Self {
        let elapsed = now.saturating_duration_since(self.origin);
        let part = u64::from(elapsed.subsec_nanos()) * self.part % NANOS;
        let before = Duration::from_nanos(part / rate.max(1));
        let origin = now.checked_sub(before).unwrap_or(now);
        Self::from_base(rate, origin, self.position(now))
    }

    /// Returns the rate, in bytes per second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Returns how many bytes have become due by `now`, modulo 2^64, rounded down.
    #[inline]
    pub fn position(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin);
        let nanos = u64::from(elapsed.subsec_nanos());
        // With rate = whole * 10^9 + part, each product of the nanoseconds fits 64 bits.
        let within = nanos * self.whole + nanos * self.part / NANOS;
        let seconds = elapsed.as_secs().wrapping_mul(self.rate);
        self.base.wrapping_add(seconds).wrapping_add(within)
    }

    /// Returns the first instant, to the nanosecond, at which the schedule is at `position`; `now` if the
    /// schedule has passed it.
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

    /// Returns how long `bytes` take at this rate.
    pub fn time_for(&self, bytes: u64) -> Duration {
        let nanos = (u128::from(bytes) * u128::from(NANOS)).div_ceil(u128::from(self.rate.max(1)));
        u64::try_from(nanos).map_or(FAR, Duration::from_nanos)
    }
}
