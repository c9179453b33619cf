use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use ipnet::IpNet;

use crate::Refusal;
use crate::source::NetworkSet;

/// How many authentications may fail.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThrottleOptions {
    /// How many may fail at once, from one source, or with passwords for one claimed id. Default 30.
    pub burst: NonZeroU32,
    /// How long until one more may fail. Default 2 s.
    pub every: Duration,
    /// How many sources and ids with failures are kept in mind, each in 18 bytes; 16,777,216 at most. Default
    /// 65,536. Of
    /// more, those with the fewest failures lose their place, and whoever has none counts as if their
    /// failures were its own: no failure is forgiven early, and in a flood of that many sources new ones
    /// are refused.
    pub capacity: usize,
    /// Sources that are never throttled.
    pub exempt: Vec<IpNet>,
}

/// Counts failures per source and, of passwords, per claimed id, each in its own GCRA clock. A token has
/// too much surprise to be guessed for one id from many sources, and nobody is to lock its owner out.
#[derive(Clone)]
pub(super) struct Throttle(Arc<Inner>);

struct Inner {
    limiter: RateLimiter<Key, Debts, TokioClock, NoOpMiddleware<Instant>>,
    debts: Debts,
    /// Not before the limiter's own.
    start: Instant,
    exempt: NetworkSet,
    /// The keys of the hashes of either.
    sources: RandomState,
    ids: RandomState,
    any: AtomicBool,
}

/// Whose failures: a keyed hash, so that nobody can choose what shares a place with whom.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    hash: u64,
    /// Whether a failure is to be counted, or only looked whether one more could be.
    count: bool,
}

impl Default for ThrottleOptions {
    fn default() -> Self {
        Self {
            burst: NonZeroU32::MIN.saturating_add(29),
            every: Duration::from_secs(2),
            capacity: 65_536,
            exempt: Vec::new(),
        }
    }
}

impl ThrottleOptions {
    /// Sets [`ThrottleOptions::burst`].
    pub fn with_burst(mut self, burst: NonZeroU32) -> Self {
        self.burst = burst;
        self
    }

    /// Sets [`ThrottleOptions::every`].
    pub fn with_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Sets [`ThrottleOptions::capacity`].
    pub fn with_capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Sets [`ThrottleOptions::exempt`].
    pub fn with_exempt(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.exempt = networks.into_iter().collect();
        self
    }
}

impl Throttle {
    pub(super) fn new(options: &ThrottleOptions) -> Self {
        let every = options.every.max(Duration::from_nanos(1));
        // `with_period` is `None` for a period of zero only.
        let quota = Quota::with_period(every)
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(options.burst);
        let debts = Debts::new(options.capacity);
        Self(Arc::new(Inner {
            limiter: RateLimiter::new(quota, debts.clone(), TokioClock),
            debts,
            start: TokioClock.now(),
            exempt: options.exempt.iter().copied().collect(),
            sources: RandomState::new(),
            ids: RandomState::new(),
            any: AtomicBool::new(false),
        }))
    }

    /// Whether anybody ever failed: otherwise everybody may try.
    #[inline]
    pub(super) fn has_any(&self) -> bool {
        self.0.any.load(Ordering::Relaxed)
    }

    /// Whether this source may try.
    pub(super) fn check_source(&self, client: Option<IpAddr>) -> Result<(), Refusal> {
        client.map_or(Ok(()), |ip| self.check(self.source(ip), client))
    }

    /// Whether somebody may try to be this caller.
    pub(super) fn check_id(&self, id: &[u8], client: Option<IpAddr>) -> Result<(), Refusal> {
        self.check(self.id(id), client)
    }

    /// Counts a failure.
    pub(super) fn failed(&self, client: Option<IpAddr>, id: Option<&[u8]>) {
        if self.is_exempt(client) {
            return;
        }
        self.0.any.store(true, Ordering::Relaxed);
        let source = client.map(|client| self.source(client));
        for hash in source.into_iter().chain(id.map(|id| self.id(id))) {
            let key = Key { hash, count: true };
            // Past the limit already: it does not get worse.
            let _ = self.0.limiter.check_key(&key);
        }
    }

    fn is_exempt(&self, client: Option<IpAddr>) -> bool {
        client.is_some_and(|client| self.0.exempt.contains(client))
    }

    fn check(&self, hash: u64, client: Option<IpAddr>) -> Result<(), Refusal> {
        let key = Key { hash, count: false };
        if !self.0.debts.any_beside(&key) || self.is_exempt(client) {
            return Ok(());
        }
        let checked = self.0.limiter.check_key(&key);
        checked.map_err(|not_until| {
            let wait = not_until.wait_time_from(TokioClock.now());
            let seconds = wait.as_secs_f64().ceil().clamp(1.0, f64::from(u32::MAX));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped to what fits"
            )]
            let retry_after = seconds as u32;
            Refusal::AuthThrottled { retry_after }
        })?;
        let now = TokioClock.now().duration_since(self.0.start);
        self.0.debts.tidy(&key, Nanos::from(now).as_u64());
        Ok(())
    }

    /// An IPv4 address, or an IPv6 /64, which is what one subscriber has.
    fn source(&self, client: IpAddr) -> u64 {
        let source = match client.to_canonical() {
            IpAddr::V6(address) => address.to_bits() >> 64 << 64,
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        };
        self.0.sources.hash_one(source)
    }

    fn id(&self, id: &[u8]) -> u64 {
        self.0.ids.hash_one(id)
    }
}

/// The clock that tests can pause.
#[derive(Clone, Copy, Debug)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// GCRA clocks in a table of fixed size. Each key has a few places to be in; where all are taken, a new
/// key takes over the place of the least indebted with its debt, and keys without a place are held to
/// owe as much (Metwally's Space-Saving). The least debt of a set never falls, so whoever lost its place
/// never owes less than before.
#[derive(Clone)]
struct Debts {
    sets: Arc<[Set]>,
}

#[derive(Default)]
struct Set {
    /// Whether there may be debts: most sources share a set with none, and are looked at no further.
    owes: AtomicBool,
    slots: Mutex<[Slot; WAYS]>,
}

const WAYS: usize = 8;

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    /// In nanoseconds since the limiter's start; 0 is a free slot.
    arrival: u64,
}

/// The most keys that are kept in mind, in 300 MB.
const MOST: usize = 1 << 24;

impl Debts {
    fn new(capacity: usize) -> Self {
        let sets = capacity.min(MOST).div_ceil(WAYS).max(1).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
        }
    }

    /// The set is chosen by the low bits; the whole hash tells keys apart within it.
    fn set(&self, key: &Key) -> &Set {
        let set = usize::try_from(key.hash % self.sets.len() as u64).unwrap_or(0);
        &self.sets[set]
    }

    /// Whether anybody may owe something of whose debts this key's are not told apart.
    fn any_beside(&self, key: &Key) -> bool {
        self.set(key).owes.load(Ordering::Relaxed)
    }

    /// Forgets the debts beside this key if all of them are over at `now`, in nanoseconds since the
    /// limiter's start.
    fn tidy(&self, key: &Key, now: u64) {
        let set = self.set(key);
        let mut slots = set.lock();
        if slots.iter().all(|slot| slot.arrival <= now) {
            *slots = Default::default();
            set.owes.store(false, Ordering::Relaxed);
        }
    }
}

impl Set {
    fn lock(&self) -> MutexGuard<'_, [Slot; WAYS]> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Debts {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let set = self.set(key);
        let mut slots = set.lock();
        // Its own place, or else the one with the least debt.
        let (mut at, mut least) = (0, u64::MAX);
        for (place, slot) in slots.iter().enumerate() {
            if slot.arrival != 0 && slot.key == key.hash {
                at = place;
                break;
            }
            if slot.arrival < least {
                (at, least) = (place, slot.arrival);
            }
        }
        // A debt that is over is none, whosever it was.
        let owed = Some(slots[at].arrival).filter(|&arrival| arrival != 0);
        let (outcome, arrival) = measure(owed.map(Nanos::from))?;
        if key.count {
            set.owes.store(true, Ordering::Relaxed);
            slots[at] = Slot {
                key: key.hash,
                arrival: arrival.as_u64().max(1),
            };
        }
        Ok(outcome)
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn throttle(capacity: usize) -> Throttle {
        Throttle::new(
            &ThrottleOptions::default()
                .with_burst(NonZeroU32::new(3).unwrap())
                .with_every(Duration::from_secs(10))
                .with_capacity(capacity)
                .with_exempt(["192.0.2.0/24".parse().unwrap()]),
        )
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_refused_after_its_failures_until_one_is_forgiven() {
        let throttle = throttle(64);
        let source = Some(at("2001:db8::1"));
        for _ in 0..3 {
            assert_eq!(throttle.check_source(source), Ok(()));
            throttle.failed(source, None);
        }
        let refused = Err(Refusal::AuthThrottled { retry_after: 10 });
        assert_eq!(throttle.check_source(source), refused);
        assert_eq!(throttle.check_source(Some(at("2001:db8::ffff:1"))), refused);
        assert_eq!(throttle.check_source(Some(at("2001:db8:0:1::1"))), Ok(()));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(throttle.check_source(source), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_is_refused_from_everywhere_but_the_exempt_networks() {
        let throttle = throttle(64);
        for host in 1..=3 {
            throttle.failed(Some(at(&format!("198.51.100.{host}"))), Some(b"ci"));
        }
        assert!(throttle.check_id(b"ci", Some(at("203.0.113.1"))).is_err());
        assert_eq!(throttle.check_id(b"ci", Some(at("192.0.2.1"))), Ok(()));
        assert_eq!(throttle.check_id(b"other", Some(at("203.0.113.1"))), Ok(()));
        for _ in 0..10 {
            throttle.failed(Some(at("192.0.2.1")), Some(b"third"));
        }
        assert_eq!(throttle.check_source(Some(at("192.0.2.1"))), Ok(()));
        assert_eq!(throttle.check_id(b"third", Some(at("203.0.113.1"))), Ok(()));
    }

    fn spoofed(number: u32) -> IpAddr {
        Ipv6Addr::from_bits(u128::from(number) << 64).into()
    }

    #[test]
    fn ten_million_spoofed_sources_clear_no_debt_and_take_no_memory() {
        let debts = Debts::new(65_536);
        // A boxed slice has one length from its beginning to its end.
        assert!(size_of_val(&*debts.sets) <= 65_536 * 18);
        // Nanoseconds into the limiter's life, at which all of this happens.
        let (now, every) = (1_000_000, 1_000);
        let owe = |hash| {
            let key = Key { hash, count: true };
            let failed = |owed: Option<Nanos>| {
                let owed = owed.map_or(now, |owed| owed.as_u64().max(now));
                Ok::<_, ()>(((), Nanos::from(owed + every)))
            };
            let _ = debts.measure_and_replace(&key, failed);
        };
        let owed = |hash| {
            let key = Key { hash, count: false };
            debts.measure_and_replace(&key, |owed| Ok::<_, ()>((owed, Nanos::from(0))))
        };
        let guilty = 0x1234_5678_9abc_def0;
        for _ in 0..3 {
            owe(guilty);
        }
        let mut hash = 1_u64;
        for _ in 0..10_000_000 {
            hash = hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            owe(hash.rotate_left(32));
        }
        assert!(owed(guilty).unwrap().unwrap().as_u64() >= now + 3 * every);
    }

    #[tokio::test(start_paused = true)]
    async fn who_shares_a_set_with_a_debt_is_looked_at_until_it_is_over() {
        // One set, so that everybody shares it.
        let throttle = throttle(8);
        let (guilty, innocent) = (Some(at("198.51.100.1")), Some(at("203.0.113.1")));
        let owes = || throttle.0.debts.sets[0].owes.load(Ordering::Relaxed);
        assert!(!owes());
        for _ in 0..3 {
            throttle.failed(guilty, None);
        }
        for _ in 0..29 {
            assert_eq!(throttle.check_source(innocent), Ok(()));
            assert!(owes());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(throttle.check_source(guilty), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(throttle.check_source(innocent), Ok(()));
        assert!(!owes());
        // And all begins anew.
        for _ in 0..3 {
            assert_eq!(throttle.check_source(guilty), Ok(()));
            throttle.failed(guilty, None);
        }
        assert!(throttle.check_source(guilty).is_err());
        assert_eq!(throttle.check_source(innocent), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_debt_of_any_size_outlasts_the_loss_of_its_place() {
        // One set: eight places, and nine debtors.
        let throttle = throttle(8);
        let small = Some(at("198.51.100.1"));
        for _ in 0..2 {
            throttle.failed(small, None);
        }
        for number in 0..8 {
            for _ in 0..3 {
                throttle.failed(Some(spoofed(number)), None);
            }
        }
        // It may fail once more at most, though others have its place now.
        throttle.failed(small, None);
        assert!(throttle.check_source(small).is_err());
        // Who never failed is refused as long as all places are taken by debts, and no longer.
        let innocent = Some(at("203.0.113.1"));
        assert!(throttle.check_source(innocent).is_err());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(throttle.check_source(innocent), Ok(()));
        tokio::time::advance(Duration::from_secs(20)).await;
        for _ in 0..2 {
            throttle.failed(innocent, None);
            assert_eq!(throttle.check_source(innocent), Ok(()));
        }
    }
}
