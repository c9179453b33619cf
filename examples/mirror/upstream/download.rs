use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::client::Rest;
use super::flight::Flights;
use super::live::{Live, Progress, Transferred};
use super::places::{Places, Turn};
use super::transfer::Transfer;
use super::{Upstream, UpstreamError};
use crate::store::{Caller, Digest, Incoming, Store, Use};

/// How many blobs are fetched at once for all callers.
const ALL: usize = 256;
/// How long a client waits for one of these places, which is less than clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many go on that no client waits for.
const FOR_NOBODY: usize = 8;

/// The longest blob, in bytes.
const MAX_BLOB: u64 = 128 * 1024 * 1024 * 1024;

/// How many transfers that failed are kept to go on from, and for how long.
const KEPT: usize = 32;
const KEEP: Duration = Duration::from_secs(10 * 60);

/// The transfers in flight: one for all who want the same blob of the same repository. `Clone` costs an
/// `Arc`.
#[derive(Clone)]
pub(super) struct Downloads(Arc<Inner>);

struct Inner {
    store: Store,
    upstream: Upstream,
    places: Places,
    starts: Flights<Key, Result<Transferred, UpstreamError>>,
    running: Mutex<HashMap<Key, Transferred>>,
    for_nobody: Mutex<VecDeque<Weak<AtomicBool>>>,
    cut: Mutex<VecDeque<Cut>>,
}

pub(super) type Key = (String, Digest);

/// What came of a blob before its transfer failed.
struct Cut {
    key: Key,
    incoming: Incoming,
    at: Instant,
}

impl Downloads {
    pub(super) fn new(store: Store, upstream: Upstream) -> Self {
        Self(Arc::new(Inner {
            store,
            upstream,
            places: Places::new(Use::Transfer, ALL, PATIENCE),
            starts: Flights::new(),
            running: Mutex::default(),
            for_nobody: Mutex::default(),
            cut: Mutex::default(),
        }))
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.0.upstream
    }

    /// The transfer of this blob that is running.
    pub(super) fn running(&self, key: &Key) -> Option<Transferred> {
        self.0.running.lock().get(key).cloned()
    }

    /// Joins the transfer of this blob, or begins it. The caller's place goes with what it reads.
    pub(super) async fn join(&self, caller: &Caller, key: Key) -> Result<Live, UpstreamError> {
        let mut place = self.0.places.own(caller).await?;
        loop {
            let running = self.running(&key).filter(Transferred::is_whole);
            let running = if let Some(running) = running {
                running
            } else {
                let (this, wanted) = (self.clone(), key.clone());
                let start = |turn| async move { this.start(wanted, turn).await };
                let turn = self.0.places.turn(caller);
                let started = self.0.starts.join_in_turn(key.clone(), turn, start).await;
                // Its transfer may run already.
                let whole = || self.running(&key).filter(Transferred::is_whole);
                started.or_else(|error| whole().ok_or(error))?
            };
            match running.reader(place) {
                Ok(live) => return Ok(live),
                // What came first is gone already.
                Err(back) => place = back,
            }
        }
    }

    async fn start(&self, key: Key, turn: Turn) -> Result<Transferred, UpstreamError> {
        if let Some(running) = self.running(&key).filter(Transferred::is_whole) {
            return Ok(running);
        }
        let (repository, digest) = &key;
        let mut kept = self.take(&key);
        let from = kept.as_ref().map_or(0, Incoming::length);
        let upstream = &self.0.upstream;
        let mut rest = upstream.rest_of(repository, digest, from).await;
        if from > 0
            && matches!(
                &rest,
                Err(UpstreamError::Status(_) | UpstreamError::Invalid(_))
            )
        {
            // It does not go on from there.
            kept = None;
            rest = upstream.rest_of(repository, digest, 0).await;
        }
        let rest = match rest {
            Ok(rest) => rest,
            Err(error) => {
                if let Some(incoming) = kept {
                    self.keep(key, incoming);
                }
                return Err(error);
            }
        };
        let from = kept.as_ref().map_or(0, Incoming::length);
        let algorithm = digest.algorithm();
        let open = move |store: &Store| {
            let incoming = match kept {
                Some(incoming) => incoming,
                None => Incoming::temporary(store, algorithm)?,
            };
            let along = incoming.along()?;
            Ok((incoming, along))
        };
        let (incoming, along) = self.0.store.run(open).await?;
        let Rest { length, .. } = rest;
        if length.is_some_and(|length| length > MAX_BLOB) {
            return Err(UpstreamError::Invalid("a blob that is too long"));
        }
        let (progress, watched) = watch::channel(Progress::at(from));
        let running = Transferred::new(along, length, watched);
        self.0.running.lock().insert(key.clone(), running.clone());
        let transfer = Transfer::new(self.clone(), key, length, progress, turn);
        tokio::spawn(transfer.run(rest, incoming));
        Ok(running)
    }

    /// A transfer is over. Another of the same blob may have begun, where the disk was full.
    pub(super) fn ended(&self, key: &Key, progress: &watch::Sender<Progress>) {
        let mut running = self.0.running.lock();
        if running.get(key).is_some_and(|found| found.is(progress)) {
            running.remove(key);
        }
    }

    /// Lets a transfer go on that no client waits for, until the flag says that others want to.
    pub(super) fn for_nobody(&self) -> Arc<AtomicBool> {
        let over = Arc::new(AtomicBool::new(false));
        let mut going_on = self.0.for_nobody.lock();
        going_on.retain(|known| known.strong_count() > 0);
        if going_on.len() == FOR_NOBODY
            && let Some(oldest) = going_on.pop_front().and_then(|oldest| oldest.upgrade())
        {
            oldest.store(true, Ordering::Relaxed);
        }
        going_on.push_back(Arc::downgrade(&over));
        over
    }

    /// Keeps what came of a transfer that was cut, for the next one to go on from.
    pub(super) fn keep(&self, key: Key, incoming: Incoming) {
        if incoming.length() == 0 || !incoming.is_kept() {
            return;
        }
        let at = Instant::now();
        let mut cut = self.0.cut.lock();
        cut.retain(|kept| kept.key != key && at - kept.at < KEEP);
        if cut.len() == KEPT {
            cut.pop_front();
        }
        cut.push_back(Cut { key, incoming, at });
    }

    fn take(&self, key: &Key) -> Option<Incoming> {
        let mut cut = self.0.cut.lock();
        cut.retain(|kept| kept.at.elapsed() < KEEP);
        let at = cut.iter().position(|kept| kept.key == *key)?;
        cut.remove(at).map(|kept| kept.incoming)
    }
}

/// Whether a blob of this length is one that is taken.
pub(super) fn fits(length: u64) -> bool {
    length <= MAX_BLOB
}
