use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hashbrown::HashTable;

use super::Window;
use super::options::Quota;
use crate::util::{calendar, clock};

const SHARDS: usize = 64;
const KEYS_PER_SHARD: usize = 1024;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Where the calendar time comes from.
#[derive(Clone)]
pub(super) struct Calendar(Arc<dyn Fn() -> SystemTime + Send + Sync>);

/// The bytes that each key has used in the current window. Bounded: keys beyond the bound share one count.
/// Nothing is forgotten before the window ends.
#[derive(Debug)]
pub(super) struct Usage {
    shards: Box<[Mutex<Shard>]>,
    most: usize,
}

#[derive(Debug, Default)]
struct Shard {
    // When the window began, in seconds since the epoch.
    window: u64,
    used: HashTable<(u64, u64)>,
    overflow: u64,
}

/// A quota's window at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begins: u64,
    pub(super) ends: u64,
    pub(super) now: u64,
}

impl Calendar {
    pub(super) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(super) fn span(&self, window: Window) -> Span {
        let now = (self.0)();
        window.at(now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }
}

impl Default for Calendar {
    fn default() -> Self {
        Self::new(clock::now)
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calendar")
    }
}

impl Window {
    fn at(self, since_epoch: Duration) -> Span {
        let now = since_epoch.as_secs();
        let (begins, ends) = match self {
            Self::Hour => (now - now % HOUR, now - now % HOUR + HOUR),
            Self::Day => (now - now % DAY, now - now % DAY + DAY),
            Self::Month => calendar::month(now),
        };
        Span { begins, ends, now }
    }

    /// The window's length, in seconds; a month's is 30 days.
    pub(super) fn seconds(self) -> u64 {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY,
            Self::Month => 30 * DAY,
        }
    }
}

impl Span {
    /// Seconds until the window ends.
    pub(super) fn remaining(&self) -> u32 {
        u32::try_from(self.ends - self.now).unwrap_or(u32::MAX)
    }
}

impl Usage {
    pub(super) fn new(keys: usize) -> Self {
        let shards = SHARDS.min((keys / KEYS_PER_SHARD).next_power_of_two());
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            most: keys.div_ceil(shards),
        }
    }

    /// What `key` has used.
    pub(super) fn used(&self, key: u64, span: Span) -> u64 {
        self.shard(key, span).used_by(key, self.most)
    }

    /// Counts `bytes`, however many were used.
    pub(super) fn add(&self, key: u64, bytes: u64, span: Span) {
        let mut shard = self.shard(key, span);
        let used = shard.used(key, self.most);
        *used = used.saturating_add(bytes);
    }

    /// Counts as many of `bytes` as the quota has left, and gives how many that is.
    pub(super) fn take(&self, key: u64, bytes: u64, quota: Quota, span: Span) -> u64 {
        let mut shard = self.shard(key, span);
        let left = quota.bytes.saturating_sub(shard.used_by(key, self.most));
        let bytes = bytes.min(left);
        if bytes > 0 {
            *shard.used(key, self.most) += bytes;
        }
        bytes
    }

    /// Gives back bytes that were counted and not sent.
    pub(super) fn give_back(&self, key: u64, bytes: u64, span: Span) {
        let mut shard = self.shard(key, span);
        let used = shard.used(key, self.most);
        *used = used.saturating_sub(bytes);
    }

    fn shard(&self, key: u64, span: Span) -> MutexGuard<'_, Shard> {
        let index = (key >> 32) as usize & (self.shards.len() - 1);
        let mut shard = self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if span.begins > shard.window {
            *shard = Shard {
                window: span.begins,
                ..Shard::default()
            };
        } else if span.ends < shard.window {
            // A clock that is set back does not open a window again. But had it leapt further ahead than a
            // window, this one would not end in its time: what it counted counts in the current one.
            shard.window = span.begins;
        }
        shard
    }
}

impl Shard {
    /// What a key has used, without a place for one that has used nothing.
    fn used_by(&self, key: u64, most: usize) -> u64 {
        match self.used.find(key, |entry| entry.0 == key) {
            Some(entry) => entry.1,
            None if self.used.len() >= most => self.overflow,
            None => 0,
        }
    }

    fn used(&mut self, key: u64, most: usize) -> &mut u64 {
        let full = self.used.len() >= most;
        let entry = self
            .used
            .entry(key, |entry| entry.0 == key, |entry| entry.0);
        match entry {
            hashbrown::hash_table::Entry::Occupied(entry) => &mut entry.into_mut().1,
            hashbrown::hash_table::Entry::Vacant(_) if full => &mut self.overflow,
            hashbrown::hash_table::Entry::Vacant(entry) => &mut entry.insert((key, 0)).into_mut().1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Exhausted;

    fn quota(bytes: u64) -> Quota {
        Quota {
            bytes,
            window: Window::Day,
            exhausted: Exhausted::Finish,
        }
    }

    fn span(window: Window, now: u64) -> (u64, u64) {
        let span = window.at(Duration::from_secs(now));
        (span.begins, span.ends)
    }

    #[test]
    fn windows_are_those_of_the_calendar_in_utc() {
        // From `date -u -d @… +%FT%T`.
        for (window, now, begins, ends) in [
            (Window::Hour, 1_700_000_000, 1_699_999_200, 1_700_002_800),
            (Window::Day, 1_700_000_000, 1_699_920_000, 1_700_006_400),
            // 2023-11: 1 to 30.
            (Window::Month, 1_700_000_000, 1_698_796_800, 1_701_388_800),
            // 2024-02-29 12:00, a leap year's.
            (Window::Month, 1_709_208_000, 1_706_745_600, 1_709_251_200),
            // 2023-02-28 12:00.
            (Window::Month, 1_677_585_600, 1_675_209_600, 1_677_628_800),
            // 2000-02-29: divisible by 400.
            (Window::Month, 951_782_400, 949_363_200, 951_868_800),
            // 2025-12-31 23:59:59.
            (Window::Month, 1_767_225_599, 1_764_547_200, 1_767_225_600),
            (Window::Month, 0, 0, 2_678_400),
        ] {
            assert_eq!(span(window, now), (begins, ends), "{window:?} at {now}");
        }
    }

    #[test]
    fn who_only_asks_takes_no_place() {
        let usage = Usage::new(1);
        let span = Window::Day.at(Duration::from_secs(1_700_000_000));
        assert_eq!(usage.used(1, span), 0);
        assert_eq!(usage.take(2, 10, quota(0), span), 0);
        usage.add(3, 30, span);
        usage.add(4, 40, span);
        assert_eq!((usage.used(3, span), usage.used(4, span)), (30, 40));
    }

    #[test]
    fn a_clock_that_leapt_ahead_and_is_put_back_opens_no_window_and_keeps_none_open() {
        let usage = Usage::new(1);
        let hour = |hour: u64| Window::Hour.at(Duration::from_secs(hour * 60 * 60));
        usage.add(1, 10, hour(100));
        assert_eq!(usage.used(1, hour(99)), 10);
        assert_eq!(usage.used(1, hour(90_000)), 0);
        usage.add(1, 20, hour(90_000));
        assert_eq!(usage.used(1, hour(100)), 20);
        assert_eq!(usage.used(1, hour(101)), 0);
    }

    #[test]
    fn keys_without_room_share_one_count_and_nobody_is_forgotten() {
        let usage = Usage::new(1);
        let span = Window::Day.at(Duration::from_secs(1_700_000_000));
        usage.add(1, 10, span);
        usage.add(2, 20, span);
        usage.add(3, 30, span);
        assert_eq!(usage.used(1, span), 10);
        assert_eq!(usage.used(2, span), 50);
        let quota = quota(15);
        assert_eq!(usage.take(1, 10, quota, span), 5);
        assert_eq!(usage.take(1, 10, quota, span), 0);
        usage.give_back(1, 3, span);
        assert_eq!(usage.take(1, 10, quota, span), 3);
    }
}
