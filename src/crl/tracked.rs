use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::time_provider::TimeProvider;

use super::followers::Followed;
use super::{CertPath, Revocation, Verdict};
use crate::util::clock;
use crate::util::good_until::GoodUntil;

/// The longest sleep at once: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The path of a connection's certificate, with the last verdict on it. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub struct Tracked(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    revocation: Revocation,
    path: CertPath,
    /// `None`: the system's.
    clock: Option<Arc<dyn TimeProvider>>,
    remembered: ArcSwap<Remembered>,
    /// Of a good verdict alone.
    good: GoodUntil,
}

/// A verdict with all that says whether it still holds, so that the three are never mixed.
#[derive(Debug)]
struct Remembered {
    generation: u64,
    /// The seconds after 1970 at which it holds.
    period: RangeInclusive<u64>,
    verdict: Arc<Verdict>,
}

impl Revocation {
    /// Begins to follow a path for as long as its connection lasts.
    pub fn track(&self, path: CertPath) -> Tracked {
        Tracked::new(self.clone(), path)
    }
}

impl Tracked {
    pub(super) fn new(revocation: Revocation, path: CertPath) -> Self {
        Self::by_clock(revocation, path, None)
    }

    /// By this clock, or the system's if there is none.
    pub(crate) fn by_clock(
        revocation: Revocation,
        path: CertPath,
        clock: Option<Arc<dyn TimeProvider>>,
    ) -> Self {
        let judged = Remembered::judged(&revocation, &path, seconds(clock.as_deref()));
        let good = GoodUntil::default();
        judged.note(&good);
        Self(Arc::new(Inner {
            good,
            revocation,
            path,
            clock,
            remembered: ArcSwap::from_pointee(judged),
        }))
    }

    /// Returns whether the verdict is [good](Verdict::Good) now; of any other, one that the options let pass
    /// among them, [`Verdict::refusal`] tells more. This is what to ask at each request and each frame: while
    /// neither the CRLs nor the verdict have changed it costs three atomic loads, of the verdict with its period
    /// and of the CRLs' generation, and one reading of the clock, and no lock and no allocation.
    #[inline]
    pub fn is_good(&self) -> bool {
        let inner = &*self.0;
        let now = seconds(inner.clock.as_deref());
        let generation = inner.revocation.generation();
        inner.good.is_good(generation, now) || *self.verdict() == Verdict::Good
    }

    /// Returns the verdict now; while neither the CRLs nor the time have moved on, the remembered one.
    pub fn verdict(&self) -> Arc<Verdict> {
        let inner = &*self.0;
        let now = seconds(inner.clock.as_deref());
        let remembered = inner.remembered.load();
        if remembered.generation == inner.revocation.generation()
            && remembered.period.contains(&now)
        {
            return Arc::clone(&remembered.verdict);
        }
        drop(remembered);
        let judged = Arc::new(Remembered::judged(&inner.revocation, &inner.path, now));
        // Another thread may have judged by newer lists meanwhile: that verdict stays.
        inner.remembered.rcu(|known| {
            if known.generation > judged.generation {
                Arc::clone(known)
            } else {
                Arc::clone(&judged)
            }
        });
        let remembered = inner.remembered.load();
        remembered.note(&inner.good);
        Arc::clone(&remembered.verdict)
    }

    /// Resolves with the verdict once it is not good any more.
    pub async fn revoked(&self) -> Arc<Verdict> {
        let followers = self.0.revocation.followers();
        let following = followers.follow(Box::new(self.clone()));
        loop {
            following.looks();
            let verdict = self.verdict();
            if verdict.refusal().is_some() {
                return verdict;
            }
            let until = self.until();
            following.looks_at(until);
            let left = until
                .saturating_sub(seconds(self.0.clock.as_deref()))
                .saturating_add(1);
            let sleep = tokio::time::sleep(Duration::from_secs(left).min(LONGEST_SLEEP));
            tokio::select! {
                () = following.woken() => {}
                () = sleep => {}
            }
        }
    }

    /// The last second after 1970 at which the remembered verdict holds.
    fn until(&self) -> u64 {
        *self.0.remembered.load().period.end()
    }
}

impl Followed for Tracked {
    fn holds_until(&self) -> Option<u64> {
        let holds = self.is_good() || self.verdict().refusal().is_none();
        holds.then(|| self.until())
    }
}

/// Seconds after 1970. By a clock that cannot be read it is so late that every certificate is over.
fn seconds(clock: Option<&dyn TimeProvider>) -> u64 {
    match clock {
        None => clock::seconds(),
        Some(clock) => clock.current_time().map_or(u64::MAX, |now| now.as_secs()),
    }
}

impl Remembered {
    fn judged(revocation: &Revocation, path: &CertPath, now: u64) -> Self {
        let (generation, judgement) = revocation.judge(path, now);
        Self {
            generation,
            period: judgement.period,
            verdict: Arc::new(judgement.verdict),
        }
    }

    /// Notes when the verdict is good, if it is.
    fn note(&self, good: &GoodUntil) {
        if *self.verdict == Verdict::Good {
            good.set(self.generation, self.period.clone());
        } else {
            good.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_verdict_is_ever_taken_for_good() {
        let word = GoodUntil::default();
        for (verdict, is_good) in [
            (Verdict::Good, true),
            (Verdict::Expired, false),
            (Verdict::Good, true),
        ] {
            let remembered = Remembered {
                generation: 7,
                period: 0..=1_000,
                verdict: Arc::new(verdict),
            };
            remembered.note(&word);
            assert_eq!(word.is_good(7, 1_000), is_good);
        }
    }
}
