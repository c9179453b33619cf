use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;

use super::debts::{Exhausted, Failures};
use super::generated::is_generated;
use super::turns::Claim;
use super::verified_cache::VerifiedCache;
use crate::Refusal;
use crate::source::NetworkSet;

/// How many authentications may fail.
///
/// Nothing that cannot be guessed is throttled: a right token (generated, or strong enough to be taken
/// without `weak`), a right signed token and a client certificate pass whatever their neighbours did. Passwords
/// and weak tokens are throttled by source and by claimed id. A source is an IPv4 address or an IPv6 /64.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ThrottleOptions {
    /// How many may fail at once from one source: of passwords, and apart from them of Bearer tokens.
    /// Four times as many passwords may fail for one claimed id, so that no single source locks an id
    /// for others. Default 30.
    pub burst: NonZeroU32,
    /// How long until a source may fail once more; an id takes a quarter of it. Default 2 s.
    pub every: Duration,
    /// How many sources, and how many ids, with failures are kept in mind, each in 18 bytes. Default
    /// 65,536, at most 1,048,576. Of more, those with the fewest failures are evicted, and a source or id
    /// without a place counts as if their failures were its own: no failure is forgiven early, and in
    /// a flood of that many sources passwords from new ones are refused.
    pub capacity: usize,
    /// Sources that are never throttled.
    pub exempt: Vec<IpNet>,
}

/// How much more often an id may fail than a source.
const OF_AN_ID: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

/// How long a source counts as one that an id's owner uses.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Counts failures per source and, of passwords, per claimed id.
#[derive(Clone)]
pub(super) struct Throttle(Arc<Inner>);

struct Inner {
    sources: Failures,
    ids: Failures,
    /// From which sources the password of which id was verified lately. Those do not share in what others
    /// did: neither in the failures for the id, nor in those of a table that is full.
    known: Option<VerifiedCache<()>>,
    exempt: NetworkSet,
    any: AtomicBool,
}

/// What may be guessed by a request. Failures of each are counted apart: an old Bearer token keeps no
/// password out, which cannot be guessed by Bearer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Guess<'a> {
    /// A token.
    Token,
    /// The password of this id.
    Password(&'a [u8]),
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
        let &ThrottleOptions {
            burst,
            every,
            capacity,
            ..
        } = options;
        let of_an_id = burst.saturating_mul(OF_AN_ID);
        Self(Arc::new(Inner {
            sources: Failures::new(burst, every, capacity),
            ids: Failures::new(of_an_id, every / OF_AN_ID.get(), capacity),
            known: VerifiedCache::new(capacity, KNOWN_FOR),
            exempt: options.exempt.iter().copied().collect(),
            any: AtomicBool::new(false),
        }))
    }

    /// Whether this client may guess.
    #[inline]
    pub(super) fn check(
        &self,
        client: impl FnOnce() -> Option<IpAddr>,
        guess: Guess<'_>,
    ) -> Result<(), Refusal> {
        // Until the first failure nothing else is looked up.
        if !self.0.any.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.look_up(client(), guess)
            .map_err(|Exhausted { retry_after, .. }| Refusal::AuthThrottled { retry_after })
    }

    fn look_up(&self, client: Option<IpAddr>, guess: Guess<'_>) -> Result<(), Exhausted> {
        if self.is_exempt(client) {
            return Ok(());
        }
        let source = client.map(source);
        let is_known = || match (guess, source) {
            (Guess::Password(id), Some(source)) => self.is_known(source, id),
            _ => false,
        };
        if let Some(source) = source
            && let Err(exhausted) = self.0.sources.check((source, guess.is_password()))
            && (exhausted.own || !is_known())
        {
            return Err(exhausted);
        }
        if let Guess::Password(id) = guess
            && let Err(exhausted) = self.0.ids.check(id)
            && !is_known()
        {
            return Err(exhausted);
        }
        Ok(())
    }

    /// Counts a failure.
    pub(super) fn failed(&self, client: Option<IpAddr>, guess: Guess<'_>) {
        if self.is_exempt(client) {
            return;
        }
        self.0.any.store(true, Ordering::Relaxed);
        if let Some(client) = client {
            let key = (source(client), guess.is_password());
            self.0.sources.count(key);
        }
        if let Guess::Password(id) = guess {
            self.0.ids.count(id);
        }
    }

    /// Notes that the owner of this id, whose password was verified, is at this client.
    pub(super) fn succeeded(&self, client: Option<IpAddr>, id: &[u8]) {
        if let Some((known, client)) = self.0.known.as_ref().zip(client) {
            let proof = known.proof(id, &source(client).to_be_bytes());
            if known.recall(&proof).is_none() {
                known.remember(proof, ());
            }
        }
    }

    /// What a queue has to know of a client that shows a password for this id.
    pub(super) fn claim(&self, client: Option<IpAddr>, id: &[u8]) -> Claim {
        let source = client.map(source);
        match source {
            Some(key) if !self.is_exempt(client) => Claim {
                lane: (source, self.is_known(key, id)),
                failures: self.0.sources.owed((key, true)),
            },
            _ => Claim::of(source),
        }
    }

    fn is_known(&self, source: u128, id: &[u8]) -> bool {
        let known = self.0.known.as_ref();
        known.is_some_and(|known| {
            let proof = known.proof(id, &source.to_be_bytes());
            known.recall(&proof).is_some()
        })
    }

    /// Whether all addresses of a family are exempt.
    pub(super) fn exempts_everyone(&self) -> bool {
        self.0
            .exempt
            .iter()
            .any(|network| network.prefix_len() == 0)
    }

    fn is_exempt(&self, client: Option<IpAddr>) -> bool {
        client.is_some_and(|client| self.0.exempt.contains(client))
    }
}

impl<'a> Guess<'a> {
    /// What this user and password may be a guess at. A generated token that is shown as a password is no guess
    /// at one.
    pub(super) fn of(user: &'a [u8], password: &[u8]) -> Self {
        if is_generated(password) {
            Self::Token
        } else {
            Self::Password(user)
        }
    }

    fn is_password(self) -> bool {
        matches!(self, Self::Password(_))
    }
}

/// An IPv4 address, or an IPv6 /64, which is what one subscriber has.
pub(super) fn source(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
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

    const TOKEN: Guess<'_> = Guess::Token;
    const ALICE: Guess<'_> = Guess::Password(b"alice");
    const BOB: Guess<'_> = Guess::Password(b"bob");

    /// Three may fail from a source, twelve for an id, and one more each ten seconds or 2.5.
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

    fn check(throttle: &Throttle, client: IpAddr, guess: Guess<'_>) -> Result<(), Refusal> {
        throttle.check(|| Some(client), guess)
    }

    fn fail(throttle: &Throttle, times: usize, client: IpAddr, guess: Guess<'_>) {
        for _ in 0..times {
            throttle.failed(Some(client), guess);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_refused_after_its_failures_until_one_is_forgiven() {
        let throttle = throttle(64);
        for guess in [TOKEN, BOB] {
            let source = at("2001:db8::1");
            for _ in 0..3 {
                assert_eq!(check(&throttle, source, guess), Ok(()));
                throttle.failed(Some(source), guess);
            }
            let refused = Err(Refusal::AuthThrottled { retry_after: 10 });
            assert_eq!(check(&throttle, source, guess), refused);
            // The /64 is the source, and its neighbour another.
            assert_eq!(check(&throttle, at("2001:db8::ffff:1"), guess), refused);
            assert_eq!(check(&throttle, at("2001:db8:0:1::1"), guess), Ok(()));
            tokio::time::advance(Duration::from_secs(10)).await;
            assert_eq!(check(&throttle, source, guess), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failed_tokens_keep_no_password_out_nor_passwords_a_token() {
        for (one, other) in [(TOKEN, BOB), (BOB, TOKEN)] {
            let throttle = throttle(64);
            fail(&throttle, 9, at("198.51.100.1"), one);
            assert!(check(&throttle, at("198.51.100.1"), one).is_err());
            assert_eq!(check(&throttle, at("198.51.100.1"), other), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_single_source_locks_an_id_and_several_do() {
        let throttle = throttle(64);
        let elsewhere = at("203.0.113.1");
        for host in 1..=4 {
            assert_eq!(check(&throttle, elsewhere, ALICE), Ok(()), "{host}");
            fail(&throttle, 3, at(&format!("198.51.100.{host}")), ALICE);
        }
        assert_eq!(
            check(&throttle, elsewhere, ALICE),
            Err(Refusal::AuthThrottled { retry_after: 3 })
        );
        assert_eq!(check(&throttle, elsewhere, BOB), Ok(()));
        assert_eq!(check(&throttle, at("192.0.2.1"), ALICE), Ok(()));
        fail(&throttle, 20, at("192.0.2.1"), BOB);
        assert_eq!(check(&throttle, at("192.0.2.1"), BOB), Ok(()));
        assert_eq!(check(&throttle, elsewhere, BOB), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_verified_at_a_source_shares_in_no_failures_of_others() {
        let throttle = throttle(64);
        let home = at("203.0.113.1");
        throttle.succeeded(Some(home), b"alice");
        for host in 1..=9 {
            fail(&throttle, 3, at(&format!("198.51.100.{host}")), ALICE);
        }
        assert_eq!(check(&throttle, home, ALICE), Ok(()));
        assert!(check(&throttle, at("203.0.113.2"), ALICE).is_err());
        // Guesses at home are counted there all the same.
        fail(&throttle, 3, home, ALICE);
        assert!(check(&throttle, home, ALICE).is_err());
        // A day later the source is as any other.
        tokio::time::advance(KNOWN_FOR).await;
        for host in 1..=9 {
            fail(&throttle, 3, at(&format!("198.51.100.{host}")), ALICE);
        }
        assert!(check(&throttle, home, ALICE).is_err());
    }

    fn spoofed(number: u32) -> IpAddr {
        Ipv6Addr::from_bits(u128::from(number) << 64).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_shares_a_set_with_a_debt_is_looked_at_until_it_is_over() {
        // One set, so that all share it.
        let throttle = throttle(8);
        let (guilty, innocent) = (at("198.51.100.1"), at("203.0.113.1"));
        fail(&throttle, 3, guilty, TOKEN);
        for _ in 0..29 {
            assert_eq!(check(&throttle, innocent, TOKEN), Ok(()));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(check(&throttle, guilty, TOKEN), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(check(&throttle, innocent, TOKEN), Ok(()));
        // And all begins anew.
        for _ in 0..3 {
            assert_eq!(check(&throttle, guilty, TOKEN), Ok(()));
            throttle.failed(Some(guilty), TOKEN);
        }
        assert!(check(&throttle, guilty, TOKEN).is_err());
        assert_eq!(check(&throttle, innocent, TOKEN), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_debt_of_any_size_outlasts_the_loss_of_its_place() {
        // One set: eight places, and nine debtors.
        let throttle = throttle(8);
        let small = at("198.51.100.1");
        fail(&throttle, 2, small, BOB);
        for number in 0..8 {
            fail(&throttle, 3, spoofed(number), BOB);
        }
        // It may fail once more at most, though others have its place now.
        throttle.failed(Some(small), BOB);
        assert!(check(&throttle, small, BOB).is_err());
        // A source that never failed is refused as long as all places are taken by debts, and no longer.
        let innocent = at("203.0.113.1");
        assert!(check(&throttle, innocent, ALICE).is_err());
        // But for the one at which this id was verified.
        throttle.succeeded(Some(innocent), b"alice");
        assert_eq!(check(&throttle, innocent, ALICE), Ok(()));
        assert!(check(&throttle, innocent, BOB).is_err());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(check(&throttle, innocent, ALICE), Ok(()));
        tokio::time::advance(Duration::from_secs(20)).await;
        for _ in 0..2 {
            throttle.failed(Some(innocent), ALICE);
            assert_eq!(check(&throttle, innocent, ALICE), Ok(()));
        }
    }
}
