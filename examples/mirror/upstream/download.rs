use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use axum::http::Method;
use reqwest::Response;
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, watch};

use super::live::{Live, Progress};
use super::{Upstream, UpstreamError};
use crate::store::{Digest, Incoming, Store};

/// How many blobs are fetched at once.
const AT_ONCE: usize = 32;
/// How much is gathered before it goes to the disk.
const BATCH: usize = 256 * 1024;

/// The transfers in flight: one for all clients that want the same blob of the same repository.
#[derive(Clone)]
pub(super) struct Downloads {
    store: Store,
    upstream: Upstream,
    places: Arc<Semaphore>,
    slots: Arc<Mutex<HashMap<Key, Slot>>>,
}

type Key = (String, Digest);
/// Locked while the upstream is asked, so that those who come meanwhile share the answer.
type Slot = Arc<AsyncMutex<Asked>>;

#[derive(Default)]
enum Asked {
    #[default]
    Nothing,
    Started(Live),
    Failed(UpstreamError, Instant),
}

impl Downloads {
    pub(super) fn new(store: Store, upstream: Upstream) -> Self {
        Self {
            store,
            upstream,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            slots: Arc::default(),
        }
    }

    /// Joins the transfer of this blob, or begins it. It goes on to its end even if no client reads.
    pub(super) async fn join(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Live, UpstreamError> {
        let key = (repository.to_owned(), digest.clone());
        let came = Instant::now();
        let slot = Arc::clone(self.slots().entry(key.clone()).or_default());
        let mut asked = slot.lock().await;
        match &*asked {
            Asked::Started(live) if !live.is_over() => return Ok(live.clone()),
            Asked::Failed(error, at) if *at >= came => return Err(error.clone()),
            _ => {}
        }
        match self.start(&key, &slot).await {
            Ok(live) => {
                *asked = Asked::Started(live.clone());
                Ok(live)
            }
            Err(error) => {
                *asked = Asked::Failed(error.clone(), Instant::now());
                self.forget(&key, &slot);
                Err(error)
            }
        }
    }

    async fn start(&self, key: &Key, slot: &Slot) -> Result<Live, UpstreamError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| UpstreamError::Invalid("closed"))?;
        let (repository, digest) = key;
        let response = self.upstream.blob(Method::GET, repository, digest).await?;
        let length = response.content_length();
        let algorithm = digest.algorithm();
        let temporary = move |store: &Store| {
            let incoming = Incoming::temporary(store, algorithm)?;
            let reader = incoming.reader()?;
            Ok((incoming, reader))
        };
        let (incoming, reader) = self.store.run(temporary).await?;
        let (progress, watched) = watch::channel(Progress::default());
        let transfer = Transfer {
            downloads: self.clone(),
            key: key.clone(),
            slot: Arc::clone(slot),
            progress,
            _place: place,
        };
        tokio::spawn(transfer.run(response, incoming));
        Ok(Live::new(reader, length, watched))
    }

    fn forget(&self, key: &Key, slot: &Slot) {
        let mut slots = self.slots();
        if slots.get(key).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            slots.remove(key);
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Transfer {
    downloads: Downloads,
    key: Key,
    slot: Slot,
    progress: watch::Sender<Progress>,
    _place: OwnedSemaphorePermit,
}

impl Transfer {
    async fn run(self, response: Response, incoming: Incoming) {
        let end = self.transfer(response, incoming).await;
        let (repository, digest) = &self.key;
        if let Err(error) = &end {
            tracing::warn!(repository, %digest, %error, "a blob could not be pulled through");
        }
        self.progress
            .send_modify(|progress| progress.end = Some(end));
        self.downloads.forget(&self.key, &self.slot);
    }

    async fn transfer(
        &self,
        mut response: Response,
        mut incoming: Incoming,
    ) -> Result<(), UpstreamError> {
        let store = &self.downloads.store;
        loop {
            let batch = gather(&mut response).await?;
            if batch.is_empty() {
                break;
            }
            // All before this batch: the newest is held back.
            let ready = incoming.length();
            let write = move |_: &Store| {
                for piece in &batch {
                    incoming.write(piece)?;
                }
                Ok(incoming)
            };
            incoming = store.run(write).await?;
            self.progress.send_modify(|progress| progress.ready = ready);
        }
        let length = incoming.length();
        let (repository, digest) = self.key.clone();
        let commit = move |store: &Store| incoming.commit(store, &repository, &digest);
        store.run(commit).await?;
        self.progress
            .send_modify(|progress| progress.ready = length);
        Ok(())
    }
}

/// What has arrived, without waiting for more than the first piece of it; empty at the end.
async fn gather(response: &mut Response) -> Result<Vec<Bytes>, UpstreamError> {
    let mut batch = Vec::new();
    let mut size = 0;
    while size < BATCH {
        let chunk = if batch.is_empty() {
            response.chunk().await?
        } else {
            match futures_util::FutureExt::now_or_never(response.chunk()) {
                Some(chunk) => chunk?,
                None => break,
            }
        };
        let Some(chunk) = chunk else {
            break;
        };
        size += chunk.len();
        if !chunk.is_empty() {
            batch.push(chunk);
        }
    }
    Ok(batch)
}
