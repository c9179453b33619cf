use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::check::Checks;
use super::checked::Checked;
use super::disk::{Disk, Limits};
use super::error::At as _;
use super::files::Files;
use super::pin::Pins;
use super::{Caller, Digest, StoreError, durable};

/// A directory with blobs, manifests and tags. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    root: PathBuf,
    /// Orders what must not interleave: linking a blob with removing its last link, setting a tag
    /// with deleting its manifest, writing to a directory with syncing that it exists. Reading
    /// takes no lock.
    changes: Mutex<()>,
    /// Orders noting that content is used with removing what is not. Held for no longer than that.
    uses: Mutex<()>,
    /// The names of the repositories that have a manifest.
    catalog: Mutex<BTreeSet<String>>,
    pins: Pins,
    files: Files,
    checked: Checked,
    checks: Checks,
    disk: Disk,
    _lock: File,
}

impl Store {
    /// Opens or makes the store in `root` and removes what a crash left behind.
    ///
    /// # Errors
    /// Another process has it open, or the file system refuses.
    pub(crate) fn open(root: &Path, limits: Limits) -> Result<Self, StoreError> {
        for directory in ["tmp", "uploads", "blobs", "repositories"] {
            let path = root.join(directory);
            durable::create_dirs(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o700)).at(&path)?;
        }
        let path = root.join("lock");
        let lock = File::create(&path).at(&path)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::WOULDBLOCK => StoreError::Locked(root.to_owned()),
            error => StoreError::Io {
                path,
                source: error.into(),
            },
        })?;
        let store = Self(Arc::new(Inner {
            root: root.to_owned(),
            changes: Mutex::new(()),
            uses: Mutex::new(()),
            catalog: Mutex::default(),
            pins: Pins::default(),
            files: Files::default(),
            checked: Checked::default(),
            checks: Checks::default(),
            disk: Disk::new(root, limits),
            _lock: lock,
        }));
        let tmp = store.tmp();
        for entry in fs::read_dir(&tmp).at(&tmp)? {
            let path = entry.at(&tmp)?.path();
            fs::remove_file(&path).at(&path)?;
        }
        store.remove_unlinked()?;
        *store.catalog() = store.repositories_with_manifests()?;
        store.disk().set_used(store.measure()?);
        Ok(store)
    }

    /// Does blocking work off the runtime's threads, for the caller whose request this task serves.
    ///
    /// # Errors
    /// The work's own, or that the runtime is shutting down.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    {
        self.run_for(Caller::current().as_ref(), work).await
    }

    /// As `run`, for this caller, or for none.
    pub(crate) async fn run_for<T, F>(
        &self,
        caller: Option<&Caller>,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    {
        let thread = match caller {
            Some(caller) => Some(caller.thread().await?),
            None => None,
        };
        let store = self.clone();
        let work = move || {
            let result = work(&store);
            if let Err(StoreError::Full(path)) = &result {
                store.disk().is_full(path);
            }
            drop(thread);
            result
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StoreError::Stopping),
        }
    }

    pub(super) fn changes(&self) -> MutexGuard<'_, ()> {
        // The lock guards files, which a panic leaves as a crash would.
        self.0.changes.lock()
    }

    pub(super) fn uses(&self) -> MutexGuard<'_, ()> {
        self.0.uses.lock()
    }

    pub(super) fn catalog(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.catalog.lock()
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.0.pins
    }

    pub(super) fn files(&self) -> &Files {
        &self.0.files
    }

    pub(crate) fn checked(&self) -> &Checked {
        &self.0.checked
    }

    pub(super) fn checks(&self) -> &Checks {
        &self.0.checks
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.0.disk
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.0.root.join("tmp")
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.0.root.join("uploads")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.0.root.join("blobs")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = self.blobs();
        path.extend([digest.algorithm().as_str(), &hex[..2], hex]);
        path
    }

    pub(super) fn repositories(&self) -> PathBuf {
        self.0.root.join("repositories")
    }

    /// `name` is one that `portcullis::oci::Route` accepted: lower-case components that never begin
    /// with an underscore or a dot, so it can neither leave the directory nor name a part of
    /// another repository.
    pub(super) fn repository(&self, name: &str) -> PathBuf {
        self.repositories().join(name)
    }

    pub(super) fn blob_link(&self, repository: &str, digest: &Digest) -> PathBuf {
        by_digest(self.repository(repository).join("_blobs"), digest)
    }

    pub(super) fn manifest_file(&self, repository: &str, digest: &Digest) -> PathBuf {
        by_digest(self.repository(repository).join("_manifests"), digest)
    }

    pub(super) fn tags_dir(&self, repository: &str) -> PathBuf {
        self.repository(repository).join("_tags")
    }

    pub(super) fn referrers_dir(&self, repository: &str, subject: &Digest) -> PathBuf {
        by_digest(self.repository(repository).join("_referrers"), subject)
    }
}

fn by_digest(mut directory: PathBuf, digest: &Digest) -> PathBuf {
    directory.extend([digest.algorithm().as_str(), digest.hex()]);
    directory
}
