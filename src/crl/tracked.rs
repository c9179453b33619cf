use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::{CertPath, Revocation, Verdict, clock};

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
    /// A [`Good`] verdict, or 0.
    good: AtomicU64,
}

/// In one word, so that its halves are always of the same verdict: the generation of the lists that
/// say so, and the last second, after 1970, at which it holds. Of the generation the lower half: that
/// another with the same comes takes 2^32 reloads.
#[derive(Clone, Copy)]
struct Good(u64);

/// A verdict with all that says whether it still holds, so that the three are never mixed.
#[derive(Debug)]
struct Remembered {
    generation: u64,
    /// Seconds after 1970 until which it holds.
    until: u64,
    verdict: Arc<Verdict>,
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
        Self(Arc::new(Inner {
            good: AtomicU64::new(Good::of(&judged).0),
            revocation,
            path,
            clock,
            remembered: ArcSwap::from_pointee(judged),
        }))
    }

    /// Whether the verdict is [good](Verdict::Good) now; of any other, one that the options let pass
    /// among them, [`Verdict::refusal`] tells more. This is what to ask at each request and each frame: while
    /// neither the CRLs nor the time have moved on it costs three atomic loads, of the verdict, the
    /// lists' generation and the time, and no lock, no system call and no allocation.
    #[inline]
    pub fn is_good(&self) -> bool {
        let inner = &*self.0;
        let good = Good(inner.good.load(Ordering::Acquire));
        let now = match &inner.clock {
            None => clock::seconds(),
            given => seconds(given.as_deref()),
        };
        good.holds(inner.revocation.lists().generation(), now) || *self.verdict() == Verdict::Good
    }

    /// The verdict now. While neither the CRLs nor the time have moved on, the remembered one.
    pub fn verdict(&self) -> Arc<Verdict> {
        let inner = &*self.0;
        let now = seconds(inner.clock.as_deref());
        let remembered = inner.remembered.load();
        if remembered.generation == inner.revocation.lists().generation() && now <= remembered.until
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
        inner.good.store(Good::of(&remembered).0, Ordering::Release);
        Arc::clone(&remembered.verdict)
    }

    /// Resolves with the verdict once it is not good any more.
    pub async fn revoked(&self) -> Arc<Verdict> {
        let mut changes = self.0.revocation.lists().changes();
        loop {
            changes.mark_unchanged();
            let verdict = self.verdict();
            if verdict.refusal().is_some() {
                return verdict;
            }
            let left = self.0.remembered.load().until;
            let left = left
                .saturating_sub(seconds(self.0.clock.as_deref()))
                .saturating_add(1);
            let sleep = tokio::time::sleep(Duration::from_secs(left).min(LONGEST_SLEEP));
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep => {}
            }
        }
    }
}

/// Seconds after 1970. By a clock that cannot be read it is so late that every certificate is over.
fn seconds(clock: Option<&dyn TimeProvider>) -> u64 {
    match clock {
        None => UnixTime::now().as_secs(),
        Some(clock) => clock.current_time().map_or(u64::MAX, |now| now.as_secs()),
    }
}

impl Remembered {
    fn judged(revocation: &Revocation, path: &CertPath, now: u64) -> Self {
        let (generation, judgement) = revocation.judge(path, now);
        Self {
            generation,
            until: judgement.until,
            verdict: Arc::new(judgement.verdict),
        }
    }
}

impl Good {
    fn of(remembered: &Remembered) -> Self {
        if *remembered.verdict != Verdict::Good {
            return Self(0);
        }
        let until = remembered.until.min(u64::from(u32::MAX));
        Self(remembered.generation << 32 | until)
    }

    #[inline]
    fn holds(self, generation: u64, now: u64) -> bool {
        self.0 >> 32 == generation & u64::from(u32::MAX) && now <= self.0 & u64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(generation: u64, until: u64, verdict: Verdict) -> Good {
        Good::of(&Remembered {
            generation,
            until,
            verdict: Arc::new(verdict),
        })
    }

    #[test]
    fn a_good_verdict_holds_in_its_generation_until_its_end() {
        let word = good(7, 1_000, Verdict::Good);
        assert!(word.holds(7, 999) && word.holds(7, 1_000));
        assert!(!word.holds(7, 1_001) && !word.holds(8, 999) && !word.holds(6, 999));
        let far = good(1 << 40 | 3, u64::MAX, Verdict::Good);
        assert!(far.holds(1 << 40 | 3, 4_000_000_000));
        assert!(!far.holds(4, 0) && !far.holds(1 << 40 | 3, u64::MAX));
    }

    #[test]
    fn no_other_verdict_is_ever_taken_for_good() {
        let word = good(7, 1_000, Verdict::Expired);
        for generation in [1, 7, u64::from(u32::MAX)] {
            assert!(!word.holds(generation, 0));
        }
    }
}
