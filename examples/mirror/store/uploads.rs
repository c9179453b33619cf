use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use super::durable;
use super::error::{At as _, if_there};
use super::lease::{Lease, Slot, SlotGuard};
use super::{Algorithm, Incoming, Store, StoreError};

/// How many uploads are held open. Others stay on disk and are read again when they go on.
const OPEN: usize = 256;

/// The uploads that are in progress. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Uploads {
    store: Store,
    open: Arc<Open>,
}

/// The sessions by their ids. There is one [`Session`] for an id at any time: two would write to one
/// file, each with a hash of its own.
#[derive(Default)]
pub(super) struct Open(Mutex<HashMap<String, Entry>>);

struct Entry {
    session: Arc<Session>,
    used: Instant,
}

/// One upload. Each request that has to do with it holds an `Arc` until it is done.
pub(super) struct Session {
    pub(super) id: String,
    /// Set when the session is begun or read from the disk.
    repository: OnceLock<Box<str>>,
    pub(super) slot: Arc<AsyncMutex<Slot>>,
    pub(super) length: Arc<AtomicU64>,
    /// Makes the request that writes to it give up.
    pub(super) given_up: CancellationToken,
}

/// What is kept beside an upload's data.
#[derive(Deserialize, Serialize)]
struct About {
    repository: String,
    algorithm: String,
}

impl Uploads {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            open: Arc::default(),
        }
    }

    /// Begins an upload and returns its session id.
    pub(crate) async fn start(
        &self,
        repository: String,
        algorithm: Algorithm,
    ) -> Result<String, StoreError> {
        let open = Arc::clone(&self.open);
        self.store
            .run(move |store| {
                let id = durable::random_name(&store.uploads())?;
                let session = Session::new(&id);
                let incoming = create(store, &session, &repository, algorithm)?;
                *session.slot.blocking_lock() = Slot::Open(Box::new(incoming));
                open.put(session);
                Ok(id)
            })
            .await
    }

    /// How many bytes of the upload have arrived.
    pub(crate) async fn length(&self, repository: &str, id: &str) -> Result<u64, StoreError> {
        let session = self.find(repository, id).await?;
        Ok(session.length.load(Ordering::Acquire))
    }

    /// Takes the upload to write to it.
    ///
    /// # Errors
    /// There is none, or another request has it.
    pub(crate) async fn lease(&self, repository: &str, id: &str) -> Result<Lease, StoreError> {
        let session = self.find(repository, id).await?;
        let guard = Arc::clone(&session.slot).try_lock_owned();
        // The request that gives it up may hold it.
        let taken = || {
            if session.given_up.is_cancelled() {
                StoreError::UploadUnknown
            } else {
                StoreError::UploadBusy
            }
        };
        let guard = guard.map_err(|_| taken())?;
        let guard = self.read(&session, guard).await?;
        if session.given_up.is_cancelled() || matches!(*guard, Slot::Ended) {
            return Err(StoreError::UploadUnknown);
        }
        Ok(Lease::new(session, Arc::clone(&self.open), guard))
    }

    /// Ends an upload. A request that writes to it learns so and stops.
    ///
    /// # Errors
    /// There is none, or it was committed first.
    pub(crate) async fn cancel(&self, repository: &str, id: &str) -> Result<(), StoreError> {
        let session = self.find(repository, id).await?;
        session.given_up.cancel();
        let guard = Arc::clone(&session.slot).lock_owned().await;
        let lease = Lease::new(session, Arc::clone(&self.open), guard);
        self.store.run(move |store| lease.end(store)).await
    }

    /// Removes uploads to which no request has written for `age`; returns how many.
    pub(crate) async fn expire(&self, age: Duration) -> Result<usize, StoreError> {
        let expired = self.store.run(move |store| older_than(store, age)).await?;
        let mut removed = 0;
        for directory in expired {
            let Some(id) = directory.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let session = self.open.get(id);
            let Ok(guard) = Arc::clone(&session.slot).try_lock_owned() else {
                continue;
            };
            let lease = Lease::new(session, Arc::clone(&self.open), guard);
            let ended = self.store.run(move |store| {
                // Between the look and the lock a request may have gone on with it.
                if !is_older_than(&directory, age)? {
                    return Ok(false);
                }
                lease.end(store).map(|()| true)
            });
            match ended.await {
                Ok(ended) => removed += usize::from(ended),
                Err(StoreError::UploadUnknown) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    async fn find(&self, repository: &str, id: &str) -> Result<Arc<Session>, StoreError> {
        // Else it is not one of ours, and might name another file.
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(StoreError::UploadUnknown);
        }
        let session = self.open.get(id);
        if session.repository.get().is_none() {
            let guard = Arc::clone(&session.slot).lock_owned().await;
            drop(self.read(&session, guard).await?);
        }
        match session.repository.get() {
            Some(own) if **own == *repository => Ok(session),
            _ => Err(StoreError::UploadUnknown),
        }
    }

    /// Reads the session from the disk, if it is not open. Another request for it waits for the lock, so
    /// that no file is opened twice.
    async fn read(
        &self,
        session: &Arc<Session>,
        mut guard: SlotGuard,
    ) -> Result<SlotGuard, StoreError> {
        if !matches!(*guard, Slot::Unread) {
            return Ok(guard);
        }
        let (open, session) = (Arc::clone(&self.open), Arc::clone(session));
        self.store
            .run(move |store| {
                match resume(store, &session) {
                    Ok(incoming) => *guard = Slot::Open(Box::new(incoming)),
                    Err(StoreError::UploadUnknown) => {
                        *guard = Slot::Ended;
                        open.forget(&session);
                    }
                    // Another request may hold it and try again, so a third must find the same one.
                    Err(error) => return Err(error),
                }
                Ok(guard)
            })
            .await
    }
}

impl Open {
    /// The session of this id, which may have to be read.
    fn get(&self, id: &str) -> Arc<Session> {
        let mut open = self.lock();
        if let Some(entry) = open.get_mut(id) {
            entry.used = Instant::now();
            return Arc::clone(&entry.session);
        }
        let session = Arc::new(Session::new(id));
        insert(&mut open, &session);
        session
    }

    fn put(&self, session: Session) {
        insert(&mut self.lock(), &Arc::new(session));
    }

    /// Removes a session that has ended.
    pub(super) fn forget(&self, session: &Arc<Session>) {
        let mut open = self.lock();
        let known = open.get(&session.id);
        if known.is_some_and(|entry| Arc::ptr_eq(&entry.session, session)) {
            open.remove(&session.id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a session; of those that no request holds, the one that was longest not used may go.
fn insert(open: &mut HashMap<String, Entry>, session: &Arc<Session>) {
    if open.len() >= OPEN {
        let idle = open
            .values()
            // Handed out under the lock of the map only.
            .filter(|entry| Arc::strong_count(&entry.session) == 1)
            .min_by_key(|entry| entry.used)
            .map(|entry| entry.session.id.clone());
        idle.and_then(|id| open.remove(&id));
    }
    let entry = Entry {
        session: Arc::clone(session),
        used: Instant::now(),
    };
    open.insert(session.id.clone(), entry);
}

impl Session {
    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            repository: OnceLock::new(),
            slot: Arc::default(),
            length: Arc::default(),
            given_up: CancellationToken::new(),
        }
    }

    pub(super) fn directory(&self, store: &Store) -> PathBuf {
        store.uploads().join(&self.id)
    }
}

fn create(
    store: &Store,
    session: &Session,
    repository: &str,
    algorithm: Algorithm,
) -> Result<Incoming, StoreError> {
    let directory = session.directory(store);
    let about = About {
        repository: repository.to_owned(),
        algorithm: algorithm.as_str().to_owned(),
    };
    durable::create_dirs(&directory)?;
    let length = Arc::clone(&session.length);
    let incoming = Incoming::kept(directory.join("data"), algorithm, length)?;
    let path = directory.join("about");
    let text = serde_json::to_vec(&about)
        .map_err(std::io::Error::from)
        .at(&path)?;
    durable::replace(&store.tmp(), &path, &text)?;
    session.repository.get_or_init(|| about.repository.into());
    Ok(incoming)
}

fn resume(store: &Store, session: &Session) -> Result<Incoming, StoreError> {
    let directory = session.directory(store);
    let path = directory.join("about");
    let text = if_there(fs::read(&path), &path)?.ok_or(StoreError::UploadUnknown)?;
    let about: About = serde_json::from_slice(&text).map_err(|_| StoreError::Corrupt(path))?;
    let algorithm = about.algorithm.parse();
    let algorithm = algorithm.map_err(|_| StoreError::Corrupt(directory.join("about")))?;
    let length = Arc::clone(&session.length);
    let incoming = Incoming::resume(directory.join("data"), algorithm, length)?;
    session.repository.get_or_init(|| about.repository.into());
    Ok(incoming)
}

fn older_than(store: &Store, age: Duration) -> Result<Vec<PathBuf>, StoreError> {
    let uploads = store.uploads();
    let mut found = Vec::new();
    for entry in fs::read_dir(&uploads).at(&uploads)? {
        let directory = entry.at(&uploads)?.path();
        if is_older_than(&directory, age)? {
            found.push(directory);
        }
    }
    Ok(found)
}

fn is_older_than(directory: &Path, age: Duration) -> Result<bool, StoreError> {
    let data = directory.join("data");
    // Without data it is being begun now, or its process died while it did.
    let metadata = match if_there(fs::metadata(&data), &data)? {
        Some(metadata) => Some(metadata),
        None => if_there(fs::metadata(directory), directory)?,
    };
    let Some(metadata) = metadata else {
        // It has ended meanwhile.
        return Ok(false);
    };
    let modified = metadata.modified().at(&data)?;
    // A time that has not come yet is no old one.
    Ok(modified.elapsed().is_ok_and(|idle| idle >= age))
}
