use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::digest::Hasher;
use super::durable;
use super::error::{At as _, if_there};
use super::{Algorithm, Digest, Store, StoreError};

/// What takes content piece by piece.
pub(crate) trait Sink: Send + 'static {
    fn write(&mut self, content: &[u8]) -> Result<(), StoreError>;
}

/// Content on its way into the store: a file outside the blobs, hashed while it is written. This is the
/// only descriptor that can write to it, and [`Incoming::commit`] uses it up: an open descriptor would
/// follow the file to its place among the blobs.
///
/// Dropped without a commit, a temporary file is removed; an upload's file stays for the client to
/// resume.
pub(crate) struct Incoming {
    file: File,
    path: PathBuf,
    hasher: Hasher,
    length: Arc<AtomicU64>,
    temporary: bool,
}

impl Incoming {
    /// A new temporary file.
    pub(crate) fn temporary(store: &Store, algorithm: Algorithm) -> Result<Self, StoreError> {
        let path = durable::unique(&store.tmp())?;
        let mut incoming = Self::kept(path, algorithm, Arc::default())?;
        incoming.temporary = true;
        Ok(incoming)
    }

    /// A new file of an upload. `length` is kept at the number of bytes in it.
    pub(super) fn kept(
        path: PathBuf,
        algorithm: Algorithm,
        length: Arc<AtomicU64>,
    ) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let file = options.append(true).read(true).create_new(true);
        Ok(Self {
            file: file.open(&path).at(&path)?,
            path,
            hasher: Hasher::new(algorithm),
            length,
            temporary: false,
        })
    }

    /// The file of an upload that another process began, read again for its hash.
    pub(super) fn resume(
        path: PathBuf,
        algorithm: Algorithm,
        length: Arc<AtomicU64>,
    ) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let opened = options.append(true).read(true).open(&path);
        // Without data it was committed by a process that died before it tidied up.
        let file = if_there(opened, &path)?.ok_or(StoreError::UploadUnknown)?;
        let mut hasher = Hasher::new(algorithm);
        let found = hasher.read(&file).at(&path)?;
        length.store(found, Ordering::Release);
        Ok(Self {
            file,
            path,
            hasher,
            length,
            temporary: false,
        })
    }

    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_all(content);
        if let Err(error) = written {
            // A part may have been written: back to what the hash covers.
            let _ = self.file.set_len(self.length());
            return Err(error).at(&self.path);
        }
        self.hasher.update(content);
        self.length
            .fetch_add(content.len() as u64, Ordering::Release);
        Ok(())
    }

    /// How many bytes have been written.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// A file for those who read along, and cannot write; what is committed or removed stays readable
    /// through it.
    pub(crate) fn reader(&self) -> Result<File, StoreError> {
        File::open(&self.path).at(&self.path)
    }

    /// Forgets everything after the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: u64) -> Result<(), StoreError> {
        self.file.set_len(length).at(&self.path)?;
        let mut hasher = Hasher::new(self.hasher.algorithm());
        hasher.read(&self.file).at(&self.path)?;
        self.hasher = hasher;
        self.length.store(length, Ordering::Release);
        Ok(())
    }

    /// Makes the content a blob of `repository`, if `expected` is its digest.
    ///
    /// # Errors
    /// The content has another digest, or the file system refuses. Nothing is stored then.
    pub(crate) fn commit(
        mut self,
        store: &Store,
        repository: &str,
        expected: &Digest,
    ) -> Result<(), StoreError> {
        let actual = self.digest(expected.algorithm())?;
        if actual != *expected {
            let expected = expected.clone();
            return Err(StoreError::DigestMismatch { expected, actual });
        }
        self.file.sync_all().at(&self.path)?;
        store.adopt(&self.path, repository, expected)?;
        self.temporary = false;
        Ok(())
    }

    fn digest(&self, algorithm: Algorithm) -> Result<Digest, StoreError> {
        let on_disk = self.file.metadata().at(&self.path)?.len();
        // After a failed write that could not be taken back, the hash is not of what the file has.
        if self.hasher.algorithm() == algorithm && on_disk == self.length() {
            return Ok(self.hasher.finish());
        }
        // Else it was begun without saying that it would be this algorithm.
        Digest::of_file(algorithm, &self.file).at(&self.path)
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
