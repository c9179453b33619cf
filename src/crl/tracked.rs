use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::UnixTime;

use super::{CertPath, Revocation, Verdict};

/// The longest sleep at once: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// The path of a connection's certificate, with the last verdict on it. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub struct Tracked(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    revocation: Revocation,
    path: CertPath,
    remembered: ArcSwap<Remembered>,
}

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
        let judged = Remembered::judged(&revocation, &path, UnixTime::now().as_secs());
        Self(Arc::new(Inner {
            revocation,
            path,
            remembered: ArcSwap::from_pointee(judged),
        }))
    }

    /// The verdict now. While neither the CRLs nor the time have moved on, the remembered one.
    pub fn verdict(&self) -> Arc<Verdict> {
        let inner = &*self.0;
        let now = UnixTime::now().as_secs();
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
        Arc::clone(&inner.remembered.load().verdict)
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
                .saturating_sub(UnixTime::now().as_secs())
                .saturating_add(1);
            let sleep = tokio::time::sleep(Duration::from_secs(left).min(LONGEST_SLEEP));
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep => {}
            }
        }
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
