use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::along::{Along, Window};
use super::digest::Hasher;
use super::durable;
use super::error::{At as _, if_there};
use super::{Algorithm, Digest, Store, StoreError};

/// What takes content piece by piece.
pub(crate) trait Sink: Send + 'static {
    fn write(&mut self, content: &[u8]) -> Result<(), StoreError>;
}

/// Content on its way into the store: a file outside the blobs, hashed while it is written. It is open
/// only while a piece is written, so that a client that sends nothing holds no descriptor, and none is
/// left to follow the file to its place among the blobs.
///
/// Dropped without a commit, a temporary file is removed; an upload's file stays for the client to
/// resume.
pub(crate) struct Incoming {
    store: Store,
    path: PathBuf,
    algorithm: Algorithm,
    /// `None` where the hash of what is there is not known: the commit reads it once.
    hasher: Option<Hasher>,
    length: Arc<AtomicU64>,
    temporary: bool,
    pushed: bool,
    /// What the disk has no room for, of what comes from the upstream, is read from here and not kept.
    window: Arc<Window>,
    kept: bool,
}

impl Incoming {
    /// A new temporary file, of what comes from the upstream.
    pub(crate) fn temporary(store: &Store, algorithm: Algorithm) -> Result<Self, StoreError> {
        let path = durable::unique(&store.tmp())?;
        let mut incoming = Self::kept(store, path, algorithm, Arc::default())?;
        incoming.temporary = true;
        incoming.pushed = false;
        Ok(incoming)
    }

    /// A new temporary file, of what a client pushes.
    pub(crate) fn pushed(store: &Store, algorithm: Algorithm) -> Result<Self, StoreError> {
        let mut incoming = Self::temporary(store, algorithm)?;
        incoming.pushed = true;
        Ok(incoming)
    }

    /// A new file of an upload. `length` is kept at the number of bytes in it.
    pub(super) fn kept(
        store: &Store,
        path: PathBuf,
        algorithm: Algorithm,
        length: Arc<AtomicU64>,
    ) -> Result<Self, StoreError> {
        File::create_new(&path).at(&path)?;
        Ok(Self {
            store: store.clone(),
            path,
            algorithm,
            hasher: Some(Hasher::new(algorithm)),
            length,
            temporary: false,
            pushed: true,
            window: Arc::default(),
            kept: true,
        })
    }

    /// The file of an upload that another process began, if it is there.
    pub(super) fn resume(
        store: &Store,
        path: PathBuf,
        algorithm: Algorithm,
        length: Arc<AtomicU64>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(metadata) = if_there(fs::metadata(&path), &path)? else {
            return Ok(None);
        };
        length.store(metadata.len(), Ordering::Release);
        Ok(Some(Self {
            store: store.clone(),
            path,
            algorithm,
            hasher: None,
            length,
            temporary: false,
            pushed: true,
            window: Arc::default(),
            kept: true,
        }))
    }

    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), StoreError> {
        match self.append(content) {
            // Its readers get it all the same.
            Err(StoreError::Full(path)) if !self.pushed && self.hasher.is_some() => {
                self.store.disk().is_full(&path);
                if !self.window.write(self.length(), content) {
                    return Err(StoreError::Full(path));
                }
                self.kept = false;
            }
            result => result?,
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(content);
        }
        self.length
            .fetch_add(content.len() as u64, Ordering::Release);
        Ok(())
    }

    fn append(&self, content: &[u8]) -> Result<(), StoreError> {
        if !self.kept {
            return Err(StoreError::Full(self.path.clone()));
        }
        // What was pulled before makes room for what is wanted now.
        self.store.with_room(|| {
            self.store.disk().room_for(content.len())?;
            let mut file = self.open()?;
            let written = file.write_all(content);
            if written.is_err() {
                // A part may have been written: back to what the hash covers.
                let _ = file.set_len(self.length());
            }
            written.at(&self.path)
        })
    }

    /// How many bytes have been written.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Whether the disk has taken all of it so far.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// For those who read along; what is committed or removed stays readable through it.
    pub(crate) fn along(&self) -> Result<Along, StoreError> {
        let file = File::open(&self.path).at(&self.path)?;
        Ok(Along::new(file, Arc::clone(&self.window)))
    }

    /// Forgets everything after the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: u64) -> Result<(), StoreError> {
        self.open()?.set_len(length).at(&self.path)?;
        self.hasher = None;
        self.length.store(length, Ordering::Release);
        Ok(())
    }

    /// Makes the content a blob of `repository`, if `expected` is its digest and the disk took all of it.
    ///
    /// # Errors
    /// The content has another digest, or the file system refuses. Nothing is stored then.
    pub(crate) fn commit(
        mut self,
        store: &Store,
        repository: &str,
        expected: &Digest,
    ) -> Result<(), StoreError> {
        self.try_commit(store, repository, expected)
    }

    /// As `commit`; after an error of the file system it can be tried again.
    pub(super) fn try_commit(
        &mut self,
        store: &Store,
        repository: &str,
        expected: &Digest,
    ) -> Result<(), StoreError> {
        let file = self.open()?;
        let actual = self.digest(&file, expected.algorithm())?;
        if actual != *expected {
            let expected = expected.clone();
            return Err(StoreError::DigestMismatch { expected, actual });
        }
        if !self.kept {
            return Ok(());
        }
        file.sync_all().at(&self.path)?;
        drop(file);
        if !self.pushed {
            store.wait_for_room();
        }
        store.adopt(&self.path, repository, expected, self.pushed)?;
        self.temporary = false;
        Ok(())
    }

    fn digest(&self, file: &File, algorithm: Algorithm) -> Result<Digest, StoreError> {
        let on_disk = file.metadata().at(&self.path)?.len();
        match &self.hasher {
            // Else it was begun without saying that it would be this algorithm, or a failed write could
            // not be taken back.
            Some(hasher)
                if self.algorithm == algorithm && (on_disk == self.length() || !self.kept) =>
            {
                Ok(hasher.finish())
            }
            _ => Digest::of_file(algorithm, file).at(&self.path),
        }
    }

    fn open(&self) -> Result<File, StoreError> {
        let opened = OpenOptions::new().append(true).read(true).open(&self.path);
        // Not there once it is a blob, whatever failed after that.
        if_there(opened, &self.path)?.ok_or(StoreError::UploadUnknown)
    }
}

impl Sink for Incoming {
    fn write(&mut self, content: &[u8]) -> Result<(), StoreError> {
        Self::write(self, content)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.temporary {
            // Else the sweep at the next start does it.
            let _ = fs::remove_file(&self.path);
        }
    }
}
