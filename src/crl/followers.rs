use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::reload::Listener;

/// How many are looked at before others may join or leave.
const AT_ONCE: usize = 256;

/// Those that wait for the end of a verdict. A change of the CRLs looks at each verdict on the thread that made the
/// change, and wakes those alone whose verdict has ended: to wake the tasks of ten thousand connections, of which none
/// is revoked, takes ten times as long and holds up the requests among them.
#[derive(Default)]
pub(super) struct Followers {
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Follower>>>,
}

/// What is followed.
pub(super) trait Followed: Send + Sync {
    /// Finds out anew until which second after 1970 it holds; `None` if it holds no more.
    fn holds_until(&self) -> Option<u64>;
}

struct Follower {
    followed: Box<dyn Followed>,
    /// When the follower looks by itself, in seconds after 1970.
    looks_at: AtomicU64,
    woken: Notify,
}

/// A follower among the others, until it is dropped.
pub(super) struct Following {
    followers: Arc<Followers>,
    number: u64,
    follower: Arc<Follower>,
}

impl Followers {
    pub(super) fn follow(self: &Arc<Self>, of: Box<dyn Followed>) -> Following {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let follower = Arc::new(Follower {
            followed: of,
            looks_at: AtomicU64::new(u64::MAX),
            woken: Notify::new(),
        });
        self.lock().insert(number, Arc::clone(&follower));
        Following {
            followers: Arc::clone(self),
            number,
            follower,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Follower>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first ones from this number on.
    fn some(&self, from: u64) -> Vec<(u64, Arc<Follower>)> {
        let all = self.lock();
        let some = all.range(from..).take(AT_ONCE);
        some.map(|(number, follower)| (*number, Arc::clone(follower)))
            .collect()
    }
}

impl Listener for Followers {
    fn changed(&self) {
        let mut next = 0;
        loop {
            let some = self.some(next);
            let Some((last, _)) = some.last() else {
                return;
            };
            next = last + 1;
            for (_, follower) in some {
                follower.look();
            }
        }
    }
}

impl Follower {
    fn look(&self) {
        let looks_at = || self.looks_at.load(Ordering::SeqCst);
        let until = self.followed.holds_until();
        if until.is_none_or(|until| until < looks_at()) {
            self.woken.notify_one();
        }
    }
}

impl Following {
    /// Begins to look: until [`Self::looks_at`] says when it looks again, every change wakes it.
    pub(super) fn looks(&self) {
        self.follower.looks_at.store(u64::MAX, Ordering::SeqCst);
    }

    pub(super) fn looks_at(&self, seconds: u64) {
        self.follower.looks_at.store(seconds, Ordering::SeqCst);
    }

    /// Resolves once a change asks for a look, or has since the last.
    pub(super) async fn woken(&self) {
        self.follower.woken.notified().await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.followers.lock().remove(&self.number);
    }
}

impl fmt::Debug for Followers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Waker};

    use super::*;

    /// Holds until a second, at 0 no more; counts how often that was asked.
    struct Counted(Arc<AtomicU64>, Arc<AtomicUsize>);

    impl Followed for Counted {
        fn holds_until(&self) -> Option<u64> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Some(self.0.load(Ordering::Relaxed)).filter(|until| *until > 0)
        }
    }

    fn is_woken(following: &Following) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(following.woken()).poll(&mut cx).is_ready()
    }

    #[test]
    fn those_alone_are_woken_whose_verdict_ends_sooner_than_they_look() {
        let followers = Arc::<Followers>::default();
        let looked = Arc::<AtomicUsize>::default();
        let untils: Vec<_> = (0..1_000).map(|_| Arc::new(AtomicU64::new(100))).collect();
        let all: Vec<_> = untils
            .iter()
            .map(|until| {
                let counted = Counted(Arc::clone(until), Arc::clone(&looked));
                let following = followers.follow(Box::new(counted));
                following.looks_at(100);
                following
            })
            .collect();
        untils[7].store(0, Ordering::Relaxed);
        untils[300].store(99, Ordering::Relaxed);
        untils[999].store(101, Ordering::Relaxed);
        // It is looking now, by what it was before the change.
        all[500].looks();
        followers.changed();
        assert_eq!(looked.load(Ordering::Relaxed), 1_000);
        let woken: Vec<_> = (0..1_000).filter(|at| is_woken(&all[*at])).collect();
        assert_eq!(woken, [7, 300, 500]);
        drop(all);
        followers.changed();
        assert_eq!(looked.load(Ordering::Relaxed), 1_000);
    }
}
