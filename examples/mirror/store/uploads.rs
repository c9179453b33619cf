use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::durable;
use super::error::{At as _, if_there};
use super::{Algorithm, Incoming, Store, StoreError};

/// How many uploads are held open. Others stay on disk and are read again when they go on.
const OPEN: usize = 256;

/// The uploads under way. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Uploads {
    store: Store,
    open: Arc<Mutex<HashMap<String, Session>>>,
}

/// The right to write to an upload, for one request at a time.
pub(crate) struct Lease(OwnedMutexGuard<Incoming>);

#[derive(Clone)]
struct Session {
    repository: Arc<str>,
    incoming: Arc<AsyncMutex<Incoming>>,
    length: Arc<AtomicU64>,
    used: Instant,
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
        let (id, session) = self
            .store
            .run(move |store| create(store, repository, algorithm))
            .await?;
        self.keep(id.clone(), session);
        Ok(id)
    }

    /// How many bytes of the upload have arrived.
    pub(crate) async fn length(&self, repository: &str, id: &str) -> Result<u64, StoreError> {
        let session = self.session(repository, id).await?;
        Ok(session.length.load(Ordering::Acquire))
    }

    /// Takes the upload to write to it.
    ///
    /// # Errors
    /// There is none, or another request has it.
    pub(crate) async fn lease(&self, repository: &str, id: &str) -> Result<Lease, StoreError> {
        let session = self.session(repository, id).await?;
        let guard = session.incoming.try_lock_owned();
        guard.map(Lease).map_err(|_| StoreError::UploadBusy)
    }

    /// Ends an upload, whatever has become of its data.
    pub(crate) async fn remove(&self, repository: &str, id: &str) -> Result<(), StoreError> {
        self.session(repository, id).await?;
        self.open().remove(id);
        let directory = self.store.uploads().join(id);
        self.store
            .run(move |_| fs::remove_dir_all(&directory).at(&directory))
            .await
    }

    /// Removes uploads to which nobody has written for `age`; returns how many.
    pub(crate) async fn expire(&self, age: Duration) -> Result<usize, StoreError> {
        let expired = self.store.run(move |store| older_than(store, age)).await?;
        let mut removed = 0;
        for directory in expired {
            let id = directory.file_name().and_then(|name| name.to_str());
            let session = id.and_then(|id| self.open().get(id).cloned());
            let busy = session.is_some_and(|session| session.incoming.try_lock().is_err());
            if busy {
                continue;
            }
            if let Some(id) = id {
                self.open().remove(id);
            }
            self.store
                .run(move |_| fs::remove_dir_all(&directory).at(&directory))
                .await?;
            removed += 1;
        }
        Ok(removed)
    }

    async fn session(&self, repository: &str, id: &str) -> Result<Session, StoreError> {
        let known = self.open().get_mut(id).map(|session| {
            session.used = Instant::now();
            session.clone()
        });
        let session = match known {
            Some(session) => session,
            None => self.reopen(id).await?,
        };
        if &*session.repository != repository {
            return Err(StoreError::UploadUnknown);
        }
        Ok(session)
    }

    async fn reopen(&self, id: &str) -> Result<Session, StoreError> {
        // Else it is not one of ours, and might name another file.
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(StoreError::UploadUnknown);
        }
        let id = id.to_owned();
        let name = id.clone();
        let session = self.store.run(move |store| resume(store, &name)).await?;
        Ok(self.keep(id, session))
    }

    /// Remembers the session; of two that were opened at once, the first.
    fn keep(&self, id: String, session: Session) -> Session {
        let mut open = self.open();
        if open.len() >= OPEN && !open.contains_key(&id) {
            let idle = open
                .iter()
                .filter(|(_, session)| Arc::strong_count(&session.incoming) == 1)
                .min_by_key(|(_, session)| session.used)
                .map(|(id, _)| id.clone());
            idle.and_then(|id| open.remove(&id));
        }
        open.entry(id).or_insert(session).clone()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsMut<Incoming> for Lease {
    fn as_mut(&mut self) -> &mut Incoming {
        &mut self.0
    }
}

impl Session {
    fn new(repository: &str, incoming: Incoming) -> Self {
        Self {
            repository: repository.into(),
            length: incoming.length_cell(),
            incoming: Arc::new(AsyncMutex::new(incoming)),
            used: Instant::now(),
        }
    }
}

fn create(
    store: &Store,
    repository: String,
    algorithm: Algorithm,
) -> Result<(String, Session), StoreError> {
    let id = durable::random_name(&store.uploads())?;
    let directory = store.uploads().join(&id);
    let about = About {
        repository,
        algorithm: algorithm.as_str().to_owned(),
    };
    durable::create_dirs(&directory)?;
    let incoming = Incoming::kept(directory.join("data"), algorithm)?;
    let path = directory.join("about");
    let text = serde_json::to_vec(&about)
        .map_err(std::io::Error::from)
        .at(&path)?;
    durable::replace(&store.tmp(), &path, &text)?;
    Ok((id, Session::new(&about.repository, incoming)))
}

fn resume(store: &Store, id: &str) -> Result<Session, StoreError> {
    let directory = store.uploads().join(id);
    let path = directory.join("about");
    let text = if_there(fs::read(&path), &path)?.ok_or(StoreError::UploadUnknown)?;
    let about: About = serde_json::from_slice(&text).map_err(|_| StoreError::Corrupt(path))?;
    let algorithm = about.algorithm.parse();
    let algorithm = algorithm.map_err(|_| StoreError::Corrupt(directory.join("about")))?;
    let incoming = Incoming::resume(directory.join("data"), algorithm)?;
    Ok(Session::new(&about.repository, incoming))
}

fn older_than(store: &Store, age: Duration) -> Result<Vec<PathBuf>, StoreError> {
    let uploads = store.uploads();
    let mut found = Vec::new();
    for entry in fs::read_dir(&uploads).at(&uploads)? {
        let directory = entry.at(&uploads)?.path();
        let data = directory.join("data");
        // Without data it is being begun now, or its process died while it did.
        let metadata = match if_there(fs::metadata(&data), &data)? {
            Some(metadata) => metadata,
            None => fs::metadata(&directory).at(&directory)?,
        };
        let modified = metadata.modified().at(&data)?;
        // A time that has not come yet is no old one.
        let fresh = modified.elapsed().map_or(true, |idle| idle < age);
        if !fresh {
            found.push(directory);
        }
    }
    Ok(found)
}
