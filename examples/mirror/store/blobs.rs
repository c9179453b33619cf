use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::durable;
use super::error::{At as _, if_there};
use super::{Digest, Store, StoreError};

/// A blob that a repository has.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) file: File,
    pub(crate) length: u64,
}

impl Store {
    /// Opens a blob of `repository`.
    ///
    /// # Errors
    /// The repository does not have it.
    pub(crate) fn open_blob(&self, repository: &str, digest: &Digest) -> Result<Blob, StoreError> {
        let path = self.blob_link(repository, digest);
        let file = if_there(File::open(&path), &path)?.ok_or(StoreError::BlobUnknown)?;
        let length = file.metadata().at(&path)?.len();
        Ok(Blob { file, length })
    }

    /// Whether `repository` has the blob.
    pub(crate) fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_link(repository, digest);
        Ok(if_there(fs::metadata(&path), &path)?.is_some())
    }

    /// Whether any repository has the blob.
    pub(crate) fn has_content(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob(digest);
        Ok(if_there(fs::metadata(&path), &path)?.is_some())
    }

    /// Gives `repository` a blob that `from` has; false if that one has not.
    pub(crate) fn mount_blob(
        &self,
        repository: &str,
        from: &str,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let _changes = self.changes();
        if !self.has_blob(from, digest)? {
            return Ok(false);
        }
        self.link(repository, digest)?;
        Ok(true)
    }

    /// Gives `repository` a blob that any repository has; false if none has. For the caller who
    /// knows from elsewhere that it belongs there.
    pub(crate) fn link_blob(&self, repository: &str, digest: &Digest) -> Result<bool, StoreError> {
        let _changes = self.changes();
        if !self.has_content(digest)? {
            return Ok(false);
        }
        self.link(repository, digest)?;
        Ok(true)
    }

    /// Takes the blob from `repository`, and its content from the disk if no other one has it.
    ///
    /// # Errors
    /// The repository does not have it.
    pub(crate) fn delete_blob(&self, repository: &str, digest: &Digest) -> Result<(), StoreError> {
        let _changes = self.changes();
        if !durable::remove(&self.blob_link(repository, digest))? {
            return Err(StoreError::BlobUnknown);
        }
        remove_if_unlinked(&self.blob(digest))
    }

    /// Moves a synced file whose digest was verified among the blobs, as one of `repository`.
    pub(super) fn adopt(
        &self,
        file: &Path,
        repository: &str,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let target = self.blob(digest);
        let directory = target.parent().unwrap_or(&target);
        let _changes = self.changes();
        durable::create_dirs(directory)?;
        if target.exists() {
            // The same content, and others may have it open.
            fs::remove_file(file).at(file)?;
        } else {
            fs::rename(file, &target).at(&target)?;
            durable::sync_dir(directory)?;
        }
        self.link(repository, digest)
    }

    fn link(&self, repository: &str, digest: &Digest) -> Result<(), StoreError> {
        let link = self.blob_link(repository, digest);
        let directory = link.parent().unwrap_or(&link);
        durable::create_dirs(directory)?;
        match fs::hard_link(self.blob(digest), &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result.at(&link).and_then(|()| durable::sync_dir(directory)),
        }
    }

    /// Removes content that a crash left between its rename and its link, or between the removal of
    /// its last link and its own.
    pub(super) fn remove_unlinked(&self) -> Result<(), StoreError> {
        for algorithm in entries(&self.blobs())? {
            for shard in entries(&algorithm)? {
                for blob in entries(&shard)? {
                    remove_if_unlinked(&blob)?;
                }
            }
        }
        Ok(())
    }
}

fn remove_if_unlinked(blob: &Path) -> Result<(), StoreError> {
    match if_there(fs::metadata(blob), blob)? {
        Some(metadata) if metadata.nlink() == 1 => durable::remove(blob).map(drop),
        _ => Ok(()),
    }
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, StoreError> {
    let entries = fs::read_dir(directory).at(directory)?;
    entries
        .map(|entry| entry.map(|entry| entry.path()).at(directory))
        .collect()
}
