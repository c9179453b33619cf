use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::client::Rest;
use super::flight::Flights;
use super::live::{Live, Progress};
use super::places::Places;
use super::transfer::Transfer;
use super::{Upstream, UpstreamError};
use crate::store::{Caller, Digest, Incoming, Store, Use};

/// How many blobs are fetched at once for all callers.
const ALL: usize = 256;
/// How long a client waits for one of these places, which is less than clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

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
    starts: Flights<Key, Result<Live, UpstreamError>>,
    running: Mutex<HashMap<Key, Live>>,
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
    pub(super) fn running(&self, key: &Key) -> Option<Live> {
        self.transfers().get(key).cloned()
    }

    /// Joins the transfer of this blob, or begins it.
    pub(super) async fn join(&self, caller: &Caller, key: Key) -> Result<Live, UpstreamError> {
        if let Some(live) = self.running(&key) {
            return Ok(live);
        }
        let (this, caller, wanted) = (self.clone(), caller.clone(), key.clone());
        let start = || async move { this.start(&caller, wanted).await };
        self.0.starts.join(key, start).await
    }

    async fn start(&self, caller: &Caller, key: Key) -> Result<Live, UpstreamError> {
        let place = self.0.places.take(caller).await?;
        if let Some(live) = self.running(&key) {
            return Ok(live);
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
            let reader = incoming.reader()?;
            Ok((incoming, reader))
        };
        let (incoming, reader) = self.0.store.run(open).await?;
        let Rest { length, .. } = rest;
        if length.is_some_and(|length| length > MAX_BLOB) {
            return Err(UpstreamError::Invalid("a blob that is too long"));
        }
        let (progress, watched) = watch::channel(Progress::at(from));
        let live = Live::new(reader, length, watched);
        self.transfers().insert(key.clone(), live.clone());
        let transfer = Transfer::new(self.clone(), key, length, progress, place);
        tokio::spawn(transfer.run(rest, incoming));
        Ok(live)
    }

    /// A transfer is over.
    pub(super) fn ended(&self, key: &Key) {
        self.transfers().remove(key);
    }

    /// Keeps what came of a transfer that was cut, for the next one to go on from.
    pub(super) fn keep(&self, key: Key, incoming: Incoming) {
        if incoming.length() == 0 {
            return;
        }
        let at = Instant::now();
        let mut cut = self.cut();
        cut.retain(|kept| kept.key != key && at - kept.at < KEEP);
        if cut.len() == KEPT {
            cut.pop_front();
        }
        cut.push_back(Cut { key, incoming, at });
    }

    fn take(&self, key: &Key) -> Option<Incoming> {
        let mut cut = self.cut();
        cut.retain(|kept| kept.at.elapsed() < KEEP);
        let at = cut.iter().position(|kept| kept.key == *key)?;
        cut.remove(at).map(|kept| kept.incoming)
    }

    fn transfers(&self) -> MutexGuard<'_, HashMap<Key, Live>> {
        let running = &self.0.running;
        running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) -> MutexGuard<'_, VecDeque<Cut>> {
        self.0.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a blob of this length is one that is taken.
pub(super) fn fits(length: u64) -> bool {
    length <= MAX_BLOB
}
