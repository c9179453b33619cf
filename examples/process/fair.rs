//! What all callers of a program share, such that no number of them has all of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::shares::{Share, Shares};

/// A source alone has a quarter of all.
const QUARTER: usize = 4;

/// A group alone has three quarters of all: three times what is left over then.
const OF_A_GROUP: usize = 3;

/// Places, or units of memory. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    count: usize,
    used: Mutex<usize>,
    freed: Notify,
    sources: Shares<Source>,
    /// Of sources that one caller may have all of.
    groups: Shares<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Source {
    used: AtomicUsize,
    /// One request of a source waits for its part, the others for their turn: what becomes free wakes a waiter a source.
    turn: tokio::sync::Mutex<()>,
}

/// What a source has of a pool until this is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    pool: Pool,
    source: Arc<Share<Source>>,
    group: Arc<Share<AtomicUsize>>,
    amount: usize,
}

impl Pool {
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Inner {
            count,
            used: Mutex::default(),
            freed: Notify::new(),
            sources: Shares::default(),
            groups: Shares::default(),
        }))
    }

    /// How many there are.
    #[allow(dead_code, reason = "one program has no words for it")]
    pub(crate) fn count(&self) -> usize {
        self.0.count
    }

    /// How many one source may have where no other has any.
    #[allow(dead_code, reason = "one program has no words for it")]
    pub(crate) fn part(&self) -> usize {
        (self.0.count / QUARTER).max(1)
    }

    /// Takes so many at once, if they are left.
    #[allow(dead_code, reason = "one program waits each time")]
    pub(crate) fn try_take(&self, source: &str, group: &str, amount: usize) -> Option<Part> {
        let mut part = self.nothing_of(source, group);
        part.grow(amount).then_some(part)
    }

    /// Takes so many as soon as they are left; `None` if they are not in time.
    pub(crate) async fn take(
        &self,
        source: &str,
        group: &str,
        amount: usize,
        until: Instant,
    ) -> Option<Part> {
        let mut part = self.nothing_of(source, group);
        let source = Arc::clone(&part.source);
        let _turn = timeout_at(until, source.turn.lock()).await.ok()?;
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            // What becomes free from here on is not missed.
            freed.as_mut().enable();
            if part.grow(amount) {
                return Some(part);
            }
            timeout_at(until, freed).await.ok()?;
        }
    }

    /// How many a source has now.
    #[allow(dead_code, reason = "one program has no words for it")]
    pub(crate) fn used_by(&self, source: &str) -> usize {
        let source = self.0.sources.of(source, Source::default);
        source.used.load(Ordering::Relaxed)
    }

    fn nothing_of(&self, source: &str, group: &str) -> Part {
        Part {
            pool: self.clone(),
            source: self.0.sources.of(source, Source::default),
            group: self.0.groups.of(group, AtomicUsize::default),
            amount: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Adds to what the source has, if it leaves enough for others. Of `left` in `count` a source may have
    /// `left² · 4 / 9 / count`: a quarter where no other has any, and so much less where others do that it takes about a
    /// hundred sources to leave nothing. One that has nothing gets one where one is left, and more at once where that is
    /// a quarter of what is left.
    fn grow(&mut self, amount: usize) -> bool {
        let mut used = self.pool.lock();
        let count = self.pool.0.count;
        let Some(left) = count.checked_sub(used.saturating_add(amount)) else {
            return false;
        };
        let of_a_source = left.saturating_mul(left).saturating_mul(4) / count.saturating_mul(9);
        let fits = |of: &AtomicUsize, most: usize| {
            let has = of.load(Ordering::Relaxed);
            let is_first = has == 0 && (amount == 1 || amount <= left / (QUARTER - 1));
            is_first || has + amount <= most
        };
        if !fits(&self.source.used, of_a_source)
            || !fits(&self.group, left.saturating_mul(OF_A_GROUP))
        {
            return false;
        }
        *used += amount;
        self.source.used.fetch_add(amount, Ordering::Relaxed);
        self.group.fetch_add(amount, Ordering::Relaxed);
        self.amount += amount;
        true
    }

    /// Whose it is.
    #[allow(dead_code, reason = "one program asks")]
    pub(crate) fn source(&self) -> &str {
        self.source.name()
    }

    /// Gives back all but so many.
    #[allow(dead_code, reason = "one program knows how many from the start")]
    pub(crate) fn shrink_to(&mut self, amount: usize) {
        let surplus = self.amount.saturating_sub(amount);
        if surplus == 0 {
            return;
        }
        let mut used = self.pool.lock();
        *used -= surplus;
        self.source.used.fetch_sub(surplus, Ordering::Relaxed);
        self.group.fetch_sub(surplus, Ordering::Relaxed);
        self.amount -= surplus;
        drop(used);
        self.pool.0.freed.notify_waiters();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What comes before the third colon of an IPv6 address, or all.
    fn site(address: &str) -> &str {
        address
            .match_indices(':')
            .nth(2)
            .map_or(address, |(at, _)| &address[..at])
    }

    /// As many single ones as a source gets.
    fn all_of(pool: &Pool, address: &str) -> Vec<Part> {
        std::iter::from_fn(|| pool.try_take(address, site(address), 1)).collect()
    }

    #[test]
    fn one_source_has_a_quarter_and_any_number_of_them_leave_something() {
        let pool = Pool::new(1024);
        let first = all_of(&pool, "192.0.2.1");
        assert_eq!((first.len(), pool.part()), (256, 256));
        let mut held = vec![first];
        for last in 2..80 {
            held.push(all_of(&pool, &format!("192.0.2.{last}")));
        }
        assert!(held.iter().all(|parts| !parts.is_empty()), "{held:?}");
        let lengths: Vec<_> = held.iter().map(Vec::len).collect();
        assert!(lengths.is_sorted_by(|one, next| one >= next), "{lengths:?}");
        // As it would be in a steady state, since the first ones gave nothing back.
        held.clear();
        assert_eq!(all_of(&pool, "192.0.2.9").len(), 256);
        for small in 1..8 {
            assert_eq!(all_of(&Pool::new(small), "192.0.2.1").len(), 1);
        }
    }

    #[test]
    fn the_sources_of_a_group_leave_a_quarter_and_another_has_its_part() {
        let pool = Pool::new(1024);
        let of_site = (0..100).flat_map(|net| all_of(&pool, &format!("2001:db8:0:{net:x}::1")));
        let of_site: Vec<_> = of_site.collect();
        assert_eq!(of_site.len(), 768);
        assert_eq!(all_of(&pool, "2001:db8:1::1").len(), 23);
        drop(of_site);
        // Nothing stays known of who has nothing.
        assert_eq!((pool.0.sources.count(), pool.0.groups.count()), (0, 0));
        assert_eq!(*pool.lock(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_gets_what_becomes_free_and_one_that_left_takes_nothing() {
        const PATIENCE: Duration = Duration::from_secs(30);
        let pool = Pool::new(8);
        let each = std::iter::from_fn(|| pool.try_take("a", "a", 1));
        let mut held: Vec<_> = each.collect();
        let began = Instant::now();
        let until = began + PATIENCE;
        assert!(pool.take("a", "a", 1, until).await.is_none());
        assert_eq!(began.elapsed(), PATIENCE);
        let until = Instant::now() + PATIENCE;
        let (waits, left) = (pool.clone(), pool.clone());
        let leaves = tokio::spawn(async move { left.take("a", "a", 1, until).await });
        let waits = tokio::spawn(async move { waits.take("a", "a", 1, until).await });
        tokio::time::sleep(PATIENCE / 2).await;
        leaves.abort();
        assert!(leaves.await.is_err());
        held.pop();
        let part = waits.await.unwrap_or_default();
        assert!(part.is_some());
        drop((part, held));
        assert_eq!(*pool.lock(), 0);
    }

    #[test]
    fn what_is_given_back_early_counts_no_more() {
        let pool = Pool::new(100);
        let mut part = pool
            .try_take("a", "a", 20)
            .unwrap_or_else(|| panic!("none"));
        assert!(pool.try_take("a", "a", 10).is_none());
        part.shrink_to(5);
        assert_eq!(pool.used_by("a"), 5);
        assert!(pool.try_take("a", "a", 10).is_some());
        assert!(pool.try_take("b", "b", 96).is_none());
    }
}
