use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// The generation that the verdict was made in.
    generation: AtomicU64,
    /// Seconds after 1970 until which it holds.
    until: AtomicU64,
    verdict: ArcSwap<Verdict>,
}

impl Tracked {
    pub(super) fn new(revocation: Revocation, path: CertPath) -> Self {
        let tracked = Self(Arc::new(Inner {
            revocation,
            path,
            generation: AtomicU64::new(0),
            until: AtomicU64::new(0),
            verdict: ArcSwap::from_pointee(Verdict::Good),
        }));
        tracked.verdict();
        tracked
    }

    /// The verdict now. While neither the CRLs nor the time have moved on, the remembered one.
    pub fn verdict(&self) -> Arc<Verdict> {
        let inner = &*self.0;
        let now = UnixTime::now().as_secs();
        let holds = inner.generation.load(Ordering::Acquire)
            == inner.revocation.lists().generation()
            && now <= inner.until.load(Ordering::Relaxed);
        if !holds {
            let (generation, judgement) = inner.revocation.judge(&inner.path, now);
            inner.verdict.store(Arc::new(judgement.verdict));
            inner.until.store(judgement.until, Ordering::Relaxed);
            inner.generation.store(generation, Ordering::Release);
        }
        inner.verdict.load_full()
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
            let left = self.0.until.load(Ordering::Relaxed);
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
