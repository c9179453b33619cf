use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use super::durable;
use super::error::{At as _, if_there};
use super::lease::{Lease, Slot};
use super::{Algorithm, Digest, Incoming, Store, StoreError};

/// How many uploads one owner may have. One more ends the one that was longest not used, if that was
/// not used for `IDLE`.
const AT_ONCE: usize = 256;
const IDLE: Duration = Duration::from_secs(60);
/// How long it is remembered what an upload has become.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// The uploads that are in progress, and those that were committed lately. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Uploads {
    store: Store,
    sessions: Arc<Sessions>,
}

/// The sessions by owner and id. Only the owner finds one: an id that stands in a log is no key.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, HashMap<String, Arc<Session>>>>);

/// One upload. Each request that has to do with it holds an `Arc` until it is done. No descriptor is
/// held between two pieces of content.
pub(super) struct Session {
    pub(super) id: String,
    about: About,
    pub(super) slot: Arc<AsyncMutex<Slot>>,
    pub(super) length: Arc<AtomicU64>,
    /// The blob that it has become. Kept for a while, for the client whose answer was lost.
    pub(super) committed: OnceLock<Digest>,
    /// Makes the request that writes to it give up.
    pub(super) given_up: CancellationToken,
    used: Mutex<Instant>,
}

/// What is kept beside an upload's data.
#[derive(Deserialize, Serialize)]
struct About {
    repository: String,
    algorithm: String,
    /// The caller that began it.
    #[serde(default)]
    owner: String,
}

impl Uploads {
    /// The uploads of the store, those that an earlier process began included.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn open(store: &Store) -> Result<Self, StoreError> {
        let sessions = Sessions::default();
        let directory = store.uploads();
        for entry in fs::read_dir(&directory).at(&directory)? {
            let path = entry.at(&directory)?.path();
            if let Some(session) = Session::read(store, &path)? {
                sessions.put(Arc::new(session));
            } else {
                // Its process died while it began or ended it.
                if_there(fs::remove_dir_all(&path), &path)?;
            }
        }
        Ok(Self {
            store: store.clone(),
            sessions: Arc::new(sessions),
        })
    }

    /// Begins an upload and returns its session id.
    ///
    /// # Errors
    /// The owner has too many that are in use.
    pub(crate) async fn start(
        &self,
        owner: &str,
        repository: String,
        algorithm: Algorithm,
    ) -> Result<String, StoreError> {
        let about = About {
            repository,
            algorithm: algorithm.as_str().to_owned(),
            owner: owner.to_owned(),
        };
        let sessions = Arc::clone(&self.sessions);
        self.store
            .run(move |store| {
                if let Some(idle) = sessions.make_room(&about.owner)? {
                    let directory = idle.directory(store);
                    if_there(fs::remove_dir_all(&directory), &directory)?;
                }
                let session = Session::create(store, about, algorithm)?;
                let id = session.id.clone();
                sessions.put(Arc::new(session));
                Ok(id)
            })
            .await
    }

    /// How many bytes of the upload have arrived.
    pub(crate) fn length(
        &self,
        owner: &str,
        repository: &str,
        id: &str,
    ) -> Result<u64, StoreError> {
        let session = self.find(owner, repository, id)?;
        if session.committed.get().is_some() || session.given_up.is_cancelled() {
            return Err(StoreError::UploadUnknown);
        }
        Ok(session.length.load(Ordering::Acquire))
    }

    /// The blob that the upload has become, if it was committed lately: its answer may have been lost.
    pub(crate) fn committed(&self, owner: &str, repository: &str, id: &str) -> Option<Digest> {
        let session = self.find(owner, repository, id).ok()?;
        session.committed.get().cloned()
    }

    /// Takes the upload to write to it.
    ///
    /// # Errors
    /// There is none, or another request has it.
    pub(crate) fn lease(
        &self,
        owner: &str,
        repository: &str,
        id: &str,
    ) -> Result<Lease, StoreError> {
        let session = self.find(owner, repository, id)?;
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
        if session.given_up.is_cancelled() || guard.is_none() {
            return Err(StoreError::UploadUnknown);
        }
        Ok(Lease::new(session, Arc::clone(&self.sessions), guard))
    }

    /// Ends an upload. A request that writes to it learns so and stops.
    ///
    /// # Errors
    /// There is none, or it was committed first.
    pub(crate) async fn cancel(
        &self,
        owner: &str,
        repository: &str,
        id: &str,
    ) -> Result<(), StoreError> {
        let session = self.find(owner, repository, id)?;
        session.given_up.cancel();
        let guard = Arc::clone(&session.slot).lock_owned().await;
        let lease = Lease::new(session, Arc::clone(&self.sessions), guard);
        self.store.run(move |store| lease.end(store)).await
    }

    /// Removes uploads to which no request has written for `age`; returns how many.
    pub(crate) async fn expire(&self, age: Duration) -> Result<usize, StoreError> {
        let sessions = Arc::clone(&self.sessions);
        self.store
            .run(move |store| {
                let mut removed = 0;
                for session in sessions.all() {
                    if session.committed.get().is_some() {
                        if session.used.lock().elapsed() >= age.min(REMEMBERED) {
                            sessions.forget(&session);
                        }
                        continue;
                    }
                    let data = session.directory(store).join("data");
                    if !is_older_than(&data, age)? {
                        continue;
                    }
                    let Ok(guard) = Arc::clone(&session.slot).try_lock_owned() else {
                        continue;
                    };
                    // Between the look and the lock a request may have gone on with it.
                    if is_older_than(&data, age)? {
                        match Lease::new(session, Arc::clone(&sessions), guard).end(store) {
                            Err(StoreError::UploadUnknown) => {}
                            ended => ended.map(|()| removed += 1)?,
                        }
                    }
                }
                Ok(removed)
            })
            .await
    }

    fn find(&self, owner: &str, repository: &str, id: &str) -> Result<Arc<Session>, StoreError> {
        let session = self.sessions.get(owner, id);
        let session = session.filter(|session| session.about.repository == repository);
        let session = session.ok_or(StoreError::UploadUnknown)?;
        *session.used.lock() = Instant::now();
        Ok(session)
    }
}

impl Sessions {
    fn get(&self, owner: &str, id: &str) -> Option<Arc<Session>> {
        let sessions = self.0.lock();
        sessions.get(owner)?.get(id).cloned()
    }

    fn all(&self) -> Vec<Arc<Session>> {
        let sessions = self.0.lock();
        sessions
            .values()
            .flat_map(HashMap::values)
            .cloned()
            .collect()
    }

    fn put(&self, session: Arc<Session>) {
        let mut sessions = self.0.lock();
        let own = sessions.entry(session.about.owner.clone()).or_default();
        own.insert(session.id.clone(), session);
    }

    /// Takes the owner's session that was longest not used out of the map, if it has too many.
    fn make_room(&self, owner: &str) -> Result<Option<Arc<Session>>, StoreError> {
        let mut sessions = self.0.lock();
        let Some(own) = sessions.get_mut(owner).filter(|own| own.len() >= AT_ONCE) else {
            return Ok(None);
        };
        let idle = own
            .values()
            // Handed out under the lock of the map only, so no request holds it.
            .filter(|session| Arc::strong_count(session) == 1 && session.is_idle())
            .min_by_key(|session| *session.used.lock())
            .map(|session| session.id.clone());
        let idle = idle.and_then(|id| own.remove(&id));
        idle.ok_or(StoreError::CallerBusy).map(Some)
    }

    /// Removes a session that has ended.
    pub(super) fn forget(&self, session: &Session) {
        let mut sessions = self.0.lock();
        let Some(own) = sessions.get_mut(&session.about.owner) else {
            return;
        };
        own.remove(&session.id);
        if own.is_empty() {
            sessions.remove(&session.about.owner);
        }
    }
}

impl Session {
    fn create(store: &Store, about: About, algorithm: Algorithm) -> Result<Self, StoreError> {
        let id = durable::random_name(&store.uploads())?;
        let directory = store.uploads().join(&id);
        durable::create_dirs(&directory)?;
        let length = Arc::default();
        let incoming = Incoming::kept(
            store,
            directory.join("data"),
            algorithm,
            Arc::clone(&length),
        )?;
        let path = directory.join("about");
        let text = serde_json::to_vec(&about)
            .map_err(std::io::Error::from)
            .at(&path)?;
        durable::replace(&store.tmp(), &path, &text)?;
        Ok(Self::new(id, about, incoming, length))
    }

    /// The session in this directory, if it is a whole one.
    fn read(store: &Store, directory: &Path) -> Result<Option<Self>, StoreError> {
        let path = directory.join("about");
        let text = if_there(fs::read(&path), &path)?.unwrap_or_default();
        let about: Option<About> = serde_json::from_slice(&text).ok();
        let about = about.and_then(|about| Some((about.algorithm.parse().ok()?, about)));
        let id = directory.file_name().and_then(|name| name.to_str());
        let (Some((algorithm, about)), Some(id)) = (about, id) else {
            return Ok(None);
        };
        let length = Arc::default();
        let data = directory.join("data");
        let incoming = Incoming::resume(store, data, algorithm, Arc::clone(&length))?;
        Ok(incoming.map(|incoming| Self::new(id.to_owned(), about, incoming, length)))
    }

    fn new(id: String, about: About, incoming: Incoming, length: Arc<AtomicU64>) -> Self {
        Self {
            id,
            about,
            slot: Arc::new(AsyncMutex::new(Some(Box::new(incoming)))),
            committed: OnceLock::new(),
            length,
            given_up: CancellationToken::new(),
            used: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn directory(&self, store: &Store) -> PathBuf {
        store.uploads().join(&self.id)
    }

    fn is_idle(&self) -> bool {
        self.committed.get().is_some() || self.used.lock().elapsed() >= IDLE
    }
}

fn is_older_than(data: &Path, age: Duration) -> Result<bool, StoreError> {
    let Some(metadata) = if_there(fs::metadata(data), data)? else {
        return Ok(true);
    };
    let modified = metadata.modified().at(data)?;
    // A time that has not come yet is no old one.
    Ok(modified.elapsed().is_ok_and(|idle| idle >= age))
}
