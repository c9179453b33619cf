//! What one caller may have of what all share: threads that wait for the disk, memory, and the upstream.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::StoreError;

#[path = "../../process/fair.rs"]
mod fair;
#[path = "../../process/shares.rs"]
mod shares;

pub(crate) use self::fair::{Part, Pool};
use self::shares::{Share, Shares};
pub(crate) use self::shares::{network, site};

/// How many threads of the blocking pool, which has 512, work for callers at once: a quarter of them for one caller, and
/// the fewer the more others there are. What one reads of a manifest is in memory before its memory is asked for.
const THREADS: usize = 64;
/// How much memory long bodies may take at once, in units: a quarter of it those of one caller, and the less the more
/// others there are.
const MEMORY: usize = 128 * 1024 * 1024 / UNIT;
const UNIT: usize = 4096;
/// How many transfers and questions the upstream has of one caller at once.
const TRANSFERS: usize = 32;
const QUESTIONS: usize = 32;
/// And how many listings, whose pages may be long.
const LISTINGS: usize = 4;
/// How many blobs are read for one caller at once before they are given.
const CHECKS: usize = 8;
/// How long a request waits for memory or a thread that other requests have.
const PATIENCE: Duration = Duration::from_secs(30);

tokio::task_local! {
    static CALLER: Caller;
}

/// The callers with requests in flight. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Callers {
    parts: Shares<Parts>,
    threads: Pool,
    memory: Pool,
}

/// One caller, for as long as it has a request or a body in flight. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Share<Parts>>);

struct Parts {
    threads: Pool,
    memory: Pool,
    group: Box<str>,
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
pub(crate) struct Memory(Option<Part>);

impl Default for Callers {
    fn default() -> Self {
        Self {
            parts: Shares::default(),
            threads: Pool::new(THREADS),
            memory: Pool::new(MEMORY),
        }
    }
}

impl Callers {
    /// The caller of this name, the same one for all its requests; `group` is whose callers it is one of.
    pub(crate) fn caller(&self, name: &str, group: &str) -> Caller {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        Caller(self.parts.of(name, || Parts {
            threads: self.threads.clone(),
            memory: self.memory.clone(),
            group: group.into(),
            transfers: semaphore(TRANSFERS),
            questions: semaphore(QUESTIONS),
            listings: semaphore(LISTINGS),
            checks: semaphore(CHECKS),
        }))
    }

    /// How many callers are known.
    #[cfg_attr(not(test), allow(dead_code, reason = "only a test asks"))]
    pub(crate) fn count(&self) -> usize {
        self.parts.count()
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

    pub(super) async fn thread(&self) -> Result<Part, StoreError> {
        self.part_of(&self.0.threads, 1).await
    }

    /// A part of what all callers share.
    async fn part_of(&self, pool: &Pool, amount: usize) -> Result<Part, StoreError> {
        let part = self.share_of(pool, amount, PATIENCE).await;
        part.ok_or(StoreError::CallerBusy)
    }

    /// A part of a pool, if the other callers leave it within this time.
    pub(crate) async fn share_of(
        &self,
        pool: &Pool,
        amount: usize,
        patience: Duration,
    ) -> Option<Part> {
        let until = Instant::now() + patience;
        pool.take(self.0.name(), &self.0.group, amount, until).await
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
        let part = caller.part_of(&caller.0.memory, units(bytes)).await?;
        Ok(Self(Some(part)))
    }

    /// Takes this many bytes if the caller has them left, without waiting.
    pub(crate) fn try_take(bytes: usize) -> Option<Self> {
        let Some(caller) = Caller::current() else {
            return Some(Self(None));
        };
        let parts = &caller.0;
        let part = parts
            .memory
            .try_take(parts.name(), &parts.group, units(bytes))?;
        Some(Self(Some(part)))
    }

    /// The content, which has this memory for as long as any part of it is used. What is more than
    /// that is given back at once.
    pub(crate) fn hold(mut self, content: Bytes) -> Bytes {
        if let Some(part) = &mut self.0 {
            part.shrink_to(units(content.len()));
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

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).clamp(1, MEMORY)
}
