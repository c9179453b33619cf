use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::digest::Hasher;
use super::durable;
use super::error::{At as _, if_there};
use super::{Algorithm, Digest, Store, StoreError};

/// Content on its way into the store: a file outside the blobs, hashed while it is written.
///
/// Dropped before [`Incoming::commit`], a temporary file is removed; an upload's file stays for the
/// client to resume.
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
        Self::create(durable::unique(&store.tmp())?, algorithm, true)
    }

    /// A new file of an upload.
    pub(super) fn kept(path: PathBuf, algorithm: Algorithm) -> Result<Self, StoreError> {
        Self::create(path, algorithm, false)
    }

    fn create(path: PathBuf, algorithm: Algorithm, temporary: bool) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let file = options.append(true).read(true).create_new(true);
        Ok(Self {
            file: file.open(&path).at(&path)?,
            path,
            hasher: Hasher::new(algorithm),
            length: Arc::default(),
            temporary,
        })
    }

    /// The file of an upload that another process began, read again for its hash.
    pub(super) fn resume(path: PathBuf, algorithm: Algorithm) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let opened = options.append(true).read(true).open(&path);
        // Without data it was committed by a process that died before it tidied up.
        let file = if_there(opened, &path)?.ok_or(StoreError::UploadUnknown)?;
        let mut hasher = Hasher::new(algorithm);
        let length = hash(&file, &mut hasher).at(&path)?;
        Ok(Self {
            file,
            path,
            hasher,
            length: Arc::new(AtomicU64::new(length)),
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

    /// [`Incoming::length`], readable while somebody writes.
    pub(super) fn length_cell(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.length)
    }

    /// A handle for those who read along; what is committed or removed stays readable through it.
    pub(crate) fn reader(&self) -> Result<File, StoreError> {
        self.file.try_clone().at(&self.path)
    }

    /// Forgets everything after the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: u64) -> Result<(), StoreError> {
        self.file.set_len(length).at(&self.path)?;
        let mut hasher = Hasher::new(self.hasher.algorithm());
        let file = File::open(&self.path).at(&self.path)?;
        hash(&file, &mut hasher).at(&self.path)?;
        self.hasher = hasher;
        self.length.store(length, Ordering::Release);
        Ok(())
    }

    /// Makes the content a blob of `repository`, if `expected` is its digest.
    ///
    /// # Errors
    /// The content has another digest, or the file system refuses. Nothing is stored then.
    pub(crate) fn commit(
        &mut self,
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
        if self.hasher.algorithm() == algorithm {
            return Ok(self.hasher.finish());
        }
        // Begun without saying that it would be this algorithm: read again.
        let mut hasher = Hasher::new(algorithm);
        let file = File::open(&self.path).at(&self.path)?;
        hash(&file, &mut hasher).at(&self.path)?;
        Ok(hasher.finish())
    }
}

impl AsMut<Self> for Incoming {
    fn as_mut(&mut self) -> &mut Self {
        self
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

fn hash(mut file: &File, hasher: &mut Hasher) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(length);
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}
