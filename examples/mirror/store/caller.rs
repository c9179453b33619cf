//! What one caller may have of what all share: threads that wait for the disk, memory, and the upstream.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StoreError;

#[path = "../../process/shares.rs"]
mod shares;

pub(crate) use self::shares::network;
use self::shares::{Share, Shares};

/// How many threads of the blocking pool, which has 512, work for one caller at once.
const THREADS: usize = 16;
/// How much memory the long bodies of one caller may take at once, in units.
const MEMORY: usize = 32 * 1024 * 1024 / UNIT;
const UNIT: usize = 4096;
/// How many transfers and questions the upstream has of one caller at once.
const TRANSFERS: usize = 32;
const QUESTIONS: usize = 32;
/// And how many listings, whose pages may be long.
const LISTINGS: usize = 4;
/// How many blobs are read for one caller at once before they are given.
const CHECKS: usize = 8;
/// How long a request waits for memory that the same caller's other requests have.
const PATIENCE: Duration = Duration::from_secs(30);

tokio::task_local! {
    static CALLER: Caller;
}

/// The callers with requests in flight. `Clone` costs an `Arc`.
#[derive(Clone, Default)]
pub(crate) struct Callers(Shares<Parts>);

/// One caller, for as long as it has a request or a body in flight. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Share<Parts>>);

struct Parts {
    threads: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    questions: Arc<Semaphore>,
    listings: Arc<Semaphore>,
    checks: Arc<Semaphore>,
}

/// What a caller may have of the upstream, and of the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    Transfer,
    Question,
    Listing,
    Check,
}

/// Memory of a caller's, given back when it is dropped.
pub(crate) struct Memory(Option<OwnedSemaphorePermit>);

impl Callers {
    /// The caller of this name: the same one for all its requests.
    pub(crate) fn caller(&self, name: &str) -> Caller {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        Caller(self.0.of(name, || Parts {
            threads: semaphore(THREADS),
            memory: semaphore(MEMORY),
            transfers: semaphore(TRANSFERS),
            questions: semaphore(QUESTIONS),
            listings: semaphore(LISTINGS),
            checks: semaphore(CHECKS),
        }))
    }

    /// How many callers are known.
    #[cfg_attr(not(test), allow(dead_code, reason = "only a test asks"))]
    pub(crate) fn count(&self) -> usize {
        self.0.count()
    }
}

impl Caller {
    /// Runs `request` as one of this caller's: the work that it gives to [`super::Store::run`] waits for
    /// one of the caller's threads, and is not begun if the request is dropped meanwhile.
    pub(crate) async fn scope<F: Future>(&self, request: F) -> F::Output {
        CALLER.scope(self.clone(), request).await
    }

    /// The caller whose request the current task serves.
    pub(crate) fn current() -> Option<Self> {
        CALLER.try_with(Self::clone).ok()
    }

    pub(super) async fn thread(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.0.threads).acquire_owned().await.ok()
    }

    /// One of the caller's own places. It counts for as long as the caller is kept with it.
    pub(crate) async fn place(&self, of: Use) -> Option<OwnedSemaphorePermit> {
        let places = match of {
            Use::Transfer => &self.0.transfers,
            Use::Question => &self.0.questions,
            Use::Listing => &self.0.listings,
            Use::Check => &self.0.checks,
        };
        Arc::clone(places).acquire_owned().await.ok()
    }
}

impl Memory {
    /// Takes this many bytes of the current request's caller, as soon as its other requests leave them.
    ///
    /// # Errors
    /// They do not.
    pub(crate) async fn take(bytes: usize) -> Result<Self, StoreError> {
        let Some(caller) = Caller::current() else {
            return Ok(Self(None));
        };
        let permit = Arc::clone(&caller.0.memory).acquire_many_owned(units(bytes));
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(Ok(permit)) => Ok(Self(Some(permit))),
            _ => Err(StoreError::CallerBusy),
        }
    }

    /// Takes this many bytes if the caller has them left, without waiting.
    pub(crate) fn try_take(bytes: usize) -> Option<Self> {
        let Some(caller) = Caller::current() else {
            return Some(Self(None));
        };
        let permit = Arc::clone(&caller.0.memory).try_acquire_many_owned(units(bytes));
        permit.ok().map(|permit| Self(Some(permit)))
    }

    /// The content, which has this memory for as long as any part of it is used. What is more than
    /// that is given back at once.
    pub(crate) fn hold(mut self, content: Bytes) -> Bytes {
        if let Some(permit) = &mut self.0 {
            let surplus = permit
                .num_permits()
                .saturating_sub(units(content.len()) as usize);
            drop(permit.split(surplus));
        }
        Bytes::from_owner(Held {
            content,
            _memory: self,
        })
    }
}

struct Held {
    content: Bytes,
    _memory: Memory,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT).clamp(1, MEMORY)).unwrap_or(u32::MAX)
}
