use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::durable;
use super::error::{At as _, if_there};
use super::{Digest, Store, StoreError};

/// The mode of a blob that was verified.
const SEALED: u32 = 0o444;

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
    /// The repository does not have it, or has something else in its place.
    pub(crate) fn open_blob(&self, repository: &str, digest: &Digest) -> Result<Blob, StoreError> {
        let path = self.blob_link(repository, digest);
        let file = if_there(File::open(&path), &path)?.ok_or(StoreError::BlobUnknown)?;
        let metadata = file.metadata().at(&path)?;
        if !is_sound(&file, &metadata, digest).at(&path)? {
            self.discard(repository, digest, metadata.ino())?;
            return Err(StoreError::BlobUnknown);
        }
        let length = metadata.len();
        Ok(Blob { file, length })
    }

    /// Whether `repository` has the blob. Looks at names alone, and so takes no longer for a long one.
    #[cfg_attr(
        not(feature = "digest-binding"),
        allow(dead_code, reason = "only a binding of digests asks")
    )]
    pub(crate) fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_link(repository, digest);
        Ok(if_there(fs::metadata(&path), &path)?.is_some())
    }

    /// The length of the blob, if any repository has it.
    pub(crate) fn length_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let path = self.blob(digest);
        let metadata = if_there(fs::metadata(&path), &path)?;
        Ok(metadata.map(|metadata| metadata.len()))
    }

    /// Gives `repository` a blob that `from` has; false if that one has not.
    pub(crate) fn mount_blob(
        &self,
        repository: &str,
        from: &str,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let source = self.blob_link(from, digest);
        match self.open_blob(from, digest) {
            Ok(blob) => self.link_same(&blob.file, &source, repository, digest),
            Err(StoreError::BlobUnknown) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives `repository` a blob that any repository has; false if none has. For the caller who
    /// knows from elsewhere that it belongs there.
    pub(crate) fn link_blob(&self, repository: &str, digest: &Digest) -> Result<bool, StoreError> {
        let source = self.blob(digest);
        let Some(file) = if_there(File::open(&source), &source)? else {
            return Ok(false);
        };
        let metadata = file.metadata().at(&source)?;
        if !is_sound(&file, &metadata, digest).at(&source)? {
            // Whatever comes in its place mends it.
            return Ok(false);
        }
        self.link_same(&file, &source, repository, digest)
    }

    /// Links `source` if it is still the file that was looked at; false if it is gone.
    fn link_same(
        &self,
        file: &File,
        source: &Path,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let _changes = self.changes();
        if inode(source)? != Some(file.metadata().at(source)?.ino()) {
            return Ok(false);
        }
        self.link(source, repository, digest)?;
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

    /// Moves a synced file whose digest was verified among the blobs, as one of `repository`. What is
    /// there under that digest is read again: the new file takes its place if it is something else.
    pub(super) fn adopt(
        &self,
        file: &Path,
        repository: &str,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let target = self.blob(digest);
        let directory = target.parent().unwrap_or(&target);
        loop {
            // Without the lock, because it takes as long as the blob is.
            let known = examine(&target, digest)?;
            let _changes = self.changes();
            if inode(&target)? != known.map(|known| known.inode) {
                continue;
            }
            durable::create_dirs(directory)?;
            match known {
                // The same content, and others may have it open.
                Some(Known { sound: true, .. }) => fs::remove_file(file).at(file)?,
                Some(_) => self.mend(file, &target, digest)?,
                None => {
                    fs::rename(file, &target).at(&target)?;
                    durable::sync_dir(directory)?;
                }
            }
            seal(&target)?;
            return self.link(&target, repository, digest);
        }
    }

    /// Puts a verified file in the place of one that is not what its digest says, in each repository
    /// that has it. Itself last: until then a crash leaves what the next push mends.
    fn mend(&self, file: &Path, target: &Path, digest: &Digest) -> Result<(), StoreError> {
        tracing::warn!(
            %digest,
            "a blob on the disk was not what its digest says; what was pushed now takes its place"
        );
        for repository in self.all_repositories()? {
            let link = self.blob_link(&repository, digest);
            if inode(&link)?.is_some() {
                durable::relink(&self.tmp(), file, &link)?;
            }
        }
        fs::rename(file, target).at(target)?;
        durable::sync_dir(target.parent().unwrap_or(target))
    }

    fn link(&self, source: &Path, repository: &str, digest: &Digest) -> Result<(), StoreError> {
        let link = self.blob_link(repository, digest);
        let directory = link.parent().unwrap_or(&link);
        durable::create_dirs(directory)?;
        match fs::hard_link(source, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if inode(&link)? == inode(source)? {
                    return Ok(());
                }
                durable::relink(&self.tmp(), source, &link)
            }
            result => result.at(&link).and_then(|()| durable::sync_dir(directory)),
        }
    }

    /// Takes something that is not what its digest says from `repository`.
    fn discard(&self, repository: &str, digest: &Digest, known: u64) -> Result<(), StoreError> {
        let link = self.blob_link(repository, digest);
        let _changes = self.changes();
        if inode(&link)? != Some(known) {
            return Ok(());
        }
        tracing::error!(
            repository,
            %digest,
            "a blob on the disk is not what its digest says and is removed; push it again"
        );
        durable::remove(&link)?;
        remove_if_unlinked(&self.blob(digest))
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

/// What is among the blobs under a digest.
#[derive(Clone, Copy)]
struct Known {
    inode: u64,
    /// Whether it has that digest.
    sound: bool,
}

fn examine(blob: &Path, digest: &Digest) -> Result<Option<Known>, StoreError> {
    let Some(file) = if_there(File::open(blob), blob)? else {
        return Ok(None);
    };
    let actual = Digest::of_file(digest.algorithm(), &file).at(blob)?;
    Ok(Some(Known {
        inode: file.metadata().at(blob)?.ino(),
        sound: actual == *digest,
    }))
}

/// Whether the content is what its digest says: it was verified when it was committed, which its mode
/// shows, or is now.
fn is_sound(file: &File, metadata: &Metadata, digest: &Digest) -> io::Result<bool> {
    if metadata.permissions().readonly() {
        return Ok(true);
    }
    if Digest::of_file(digest.algorithm(), file)? != *digest {
        return Ok(false);
    }
    file.set_permissions(Permissions::from_mode(SEALED))?;
    Ok(true)
}

fn seal(blob: &Path) -> Result<(), StoreError> {
    fs::set_permissions(blob, Permissions::from_mode(SEALED)).at(blob)
}

fn inode(path: &Path) -> Result<Option<u64>, StoreError> {
    let metadata = if_there(fs::metadata(path), path)?;
    Ok(metadata.map(|metadata| metadata.ino()))
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
