//! What all callers of a program share, such that no number of them has all of it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::shares::{Share, Shares, site};

/// So much less than what is left over has one source: a quarter of all if it is the only one, and the less the more
/// others there are.
const PART: usize = 3;

/// Places, or units of memory. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    count: usize,
    used: Mutex<usize>,
    freed: Notify,
    sources: Shares<Source>,
    /// By IPv4 address or IPv6 /48, of which one caller may have all.
    sites: Shares<AtomicUsize>,
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
    site: Arc<Share<AtomicUsize>>,
    amount: usize,
}

impl Pool {
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Inner {
            count,
            used: Mutex::default(),
            freed: Notify::new(),
            sources: Shares::default(),
            sites: Shares::default(),
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
        (self.0.count / (PART + 1)).max(1)
    }

    /// Takes so many at once, if they are left.
    #[allow(dead_code, reason = "one program waits each time")]
    pub(crate) fn try_take(&self, source: &str, address: IpAddr, amount: usize) -> Option<Part> {
        let mut part = self.nothing_of(source, address);
        part.grow(amount).then_some(part)
    }

    /// Takes so many as soon as they are left; `None` if they are not in time.
    pub(crate) async fn take(
        &self,
        source: &str,
        address: IpAddr,
        amount: usize,
        until: Instant,
    ) -> Option<Part> {
        let mut part = self.nothing_of(source, address);
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

    fn nothing_of(&self, source: &str, address: IpAddr) -> Part {
        let site = site(address).to_string();
        Part {
            pool: self.clone(),
            source: self.0.sources.of(source, Source::default),
            site: self.0.sites.of(&site, AtomicUsize::default),
            amount: 0,
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Adds to what the source has, if it leaves enough for others: its site no more than is left over, itself a third
    /// of that. A source that has nothing gets one where one is left.
    fn grow(&mut self, amount: usize) -> bool {
        let mut used = self.pool.lock();
        let Some(left) = self.pool.0.count.checked_sub(used.saturating_add(amount)) else {
            return false;
        };
        let fits = |of: &AtomicUsize, part: usize| {
            let has = of.load(Ordering::Relaxed);
            has + amount == 1 || (has + amount).saturating_mul(part) <= left
        };
        if !fits(&self.source.used, PART) || !fits(&self.site, 1) {
            return false;
        }
        *used += amount;
        self.source.used.fetch_add(amount, Ordering::Relaxed);
        self.site.fetch_add(amount, Ordering::Relaxed);
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
        self.site.fetch_sub(surplus, Ordering::Relaxed);
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

    fn ip(text: &str) -> IpAddr {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// As many single ones as a source gets.
    fn all_of(pool: &Pool, address: &str) -> Vec<Part> {
        std::iter::from_fn(|| pool.try_take(address, ip(address), 1)).collect()
    }

    #[test]
    fn one_source_has_a_quarter_and_any_number_of_them_leave_something() {
        let pool = Pool::new(1024);
        let first = all_of(&pool, "192.0.2.1");
        assert_eq!((first.len(), pool.part()), (256, 256));
        let mut held = vec![first];
        for last in 2..20 {
            held.push(all_of(&pool, &format!("192.0.2.{last}")));
        }
        assert!(held.iter().all(|parts| !parts.is_empty()), "{held:?}");
        // As it would be in a steady state, since the first ones gave nothing back.
        held.clear();
        assert_eq!(all_of(&pool, "192.0.2.9").len(), 256);
        for small in 1..8 {
            assert_eq!(all_of(&Pool::new(small), "192.0.2.1").len(), 1);
        }
    }

    #[test]
    fn the_sources_of_a_site_have_half_and_another_has_its_part() {
        let pool = Pool::new(1024);
        let of_site = (0..100).flat_map(|net| all_of(&pool, &format!("2001:db8:0:{net:x}::1")));
        let of_site: Vec<_> = of_site.collect();
        assert_eq!(of_site.len(), 512);
        assert_eq!(all_of(&pool, "2001:db8:1::1").len(), 128);
        drop(of_site);
        // Nothing stays known of who has nothing.
        assert_eq!((pool.0.sources.count(), pool.0.sites.count()), (0, 0));
        assert_eq!(*pool.lock(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_gets_what_becomes_free_and_one_that_left_takes_nothing() {
        const PATIENCE: Duration = Duration::from_secs(30);
        let pool = Pool::new(8);
        let each = std::iter::from_fn(|| pool.try_take("a", ip("192.0.2.1"), 1));
        let mut held: Vec<_> = each.collect();
        let began = Instant::now();
        let until = began + PATIENCE;
        assert!(pool.take("a", ip("192.0.2.1"), 1, until).await.is_none());
        assert_eq!(began.elapsed(), PATIENCE);
        let until = Instant::now() + PATIENCE;
        let (waits, left) = (pool.clone(), pool.clone());
        let leaves = tokio::spawn(async move { left.take("a", ip("192.0.2.1"), 1, until).await });
        let waits = tokio::spawn(async move { waits.take("a", ip("192.0.2.1"), 1, until).await });
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
            .try_take("192.0.2.1", ip("192.0.2.1"), 20)
            .unwrap_or_else(|| panic!("none"));
        assert!(pool.try_take("192.0.2.1", ip("192.0.2.1"), 10).is_none());
        part.shrink_to(5);
        assert_eq!(pool.used_by("192.0.2.1"), 5);
        assert!(pool.try_take("192.0.2.1", ip("192.0.2.1"), 10).is_some());
        assert!(pool.try_take("192.0.2.2", ip("192.0.2.2"), 96).is_none());
    }
}
