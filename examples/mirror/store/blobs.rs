use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::adopt::{PULLED, PUSHED};
use super::checked::Identity;
use super::durable;
use super::error::{At as _, if_there};
use super::files::Place;
use super::open::{Found, open};
use super::pin::Pin;
use super::{Digest, Store, StoreError, disk};

/// A blob that a repository has.
pub(crate) struct Blob {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) identity: Identity,
    pub(crate) length: u64,
    /// Whether it was seen to be what its digest says.
    pub(crate) is_checked: bool,
    place: Arc<Place>,
    _pin: Pin,
}

impl Blob {
    /// At most `size` of the bytes from `start` up to, not with, `end`.
    ///
    /// # Errors
    /// The blob was deleted, and its file was closed before that.
    pub(crate) fn read(
        &self,
        store: &Store,
        start: u64,
        end: u64,
        size: usize,
    ) -> Result<Bytes, StoreError> {
        let file = match self.place.file() {
            Some(file) => file,
            None => self.reopen(store)?,
        };
        let size = usize::try_from(end - start).unwrap_or(size).min(size);
        let mut piece = vec![0; size];
        file.read_exact_at(&mut piece, start).at(&self.path)?;
        Ok(piece.into())
    }

    fn reopen(&self, store: &Store) -> Result<Arc<File>, StoreError> {
        let Some(Found::File(file, metadata)) = open(&self.path)? else {
            return Err(StoreError::BlobUnknown);
        };
        let is_same = metadata.len() == self.length
            && (Identity::of(&metadata) == self.identity
                || store.is_checked(&self.digest, &file, &self.path)?);
        if !is_same {
            return Err(StoreError::BlobUnknown);
        }
        let file = Arc::new(file);
        store.files().keep(&self.place, Arc::clone(&file));
        Ok(file)
    }
}

impl Store {
    /// Opens a blob of `repository`.
    ///
    /// # Errors
    /// The repository does not have it, or has something else in its place.
    pub(crate) fn open_blob(&self, repository: &str, digest: &Digest) -> Result<Blob, StoreError> {
        let path = self.blob_link(repository, digest);
        // Before the look at the file: from here on it is not evicted.
        let pin = self.pins().pin(digest);
        let (file, metadata) = self.open_link(repository, digest)?;
        if !self.touch(&file, &metadata, &path)? {
            return Err(StoreError::BlobUnknown);
        }
        // Without the lock if it was not touched a moment ago.
        let is_checked =
            self.checked().knows(digest, &metadata) || self.is_checked(digest, &file, &path)?;
        let place = Arc::<Place>::default();
        self.files().keep(&place, Arc::new(file));
        Ok(Blob {
            path,
            digest: digest.clone(),
            identity: Identity::of(&metadata),
            length: metadata.len(),
            is_checked,
            place,
            _pin: pin,
        })
    }

    fn open_link(&self, repository: &str, digest: &Digest) -> Result<(File, Metadata), StoreError> {
        let path = self.blob_link(repository, digest);
        let wrong = match open(&path)?.ok_or(StoreError::BlobUnknown)? {
            Found::File(file, metadata) => {
                if self.is_sound(&file, &metadata, digest, &path)? {
                    return Ok((file, metadata));
                }
                metadata.ino()
            }
            Found::Other(inode) => inode,
        };
        self.discard(repository, digest, wrong)?;
        Err(StoreError::BlobUnknown)
    }

    /// Whether `repository` has the blob. Looks at names alone, and so takes no longer for a long one.
    #[cfg_attr(
        not(feature = "digest-binding"),
        allow(dead_code, reason = "only a binding of digests asks")
    )]
    pub(crate) fn has_blob(&self, repository: &str, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blob_link(repository, digest);
        let found = if_there(fs::metadata(&path), &path)?;
        Ok(found.is_some_and(|found| found.is_file()))
    }

    /// The length of the blob, if any repository has it.
    pub(crate) fn length_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let path = self.blob(digest);
        let metadata = if_there(fs::metadata(&path), &path)?;
        let file = metadata.filter(Metadata::is_file);
        Ok(file.map(|metadata| metadata.len()))
    }

    /// Gives `repository` a blob that `from` has; false if that one has not.
    pub(crate) fn mount_blob(
        &self,
        repository: &str,
        from: &str,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let source = self.blob_link(from, digest);
        let _pin = self.pins().pin(digest);
        match self.open_link(from, digest) {
            Ok((file, _)) => self.link_same(&file, &source, repository, digest),
            Err(StoreError::BlobUnknown) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives `repository` a blob that any repository has; false if none has. For the caller who
    /// knows from elsewhere that it belongs there.
    pub(crate) fn link_blob(&self, repository: &str, digest: &Digest) -> Result<bool, StoreError> {
        let source = self.blob(digest);
        let _pin = self.pins().pin(digest);
        let Some(Found::File(file, metadata)) = open(&source)? else {
            return Ok(false);
        };
        if !self.is_sound(&file, &metadata, digest, &source)? {
            // Whatever comes in its place mends it.
            return Ok(false);
        }
        self.link_same(&file, &source, repository, digest)
    }

    /// Whether the content is what its digest says, as far as its mode shows: it was verified when it was committed, or
    /// is now. An empty file may be what a loss of power left of one that was.
    fn is_sound(
        &self,
        file: &File,
        metadata: &Metadata,
        digest: &Digest,
        path: &Path,
    ) -> Result<bool, StoreError> {
        if metadata.permissions().readonly() && metadata.len() > 0 {
            return Ok(true);
        }
        if Digest::of_file(digest.algorithm(), file).at(path)? != *digest {
            return Ok(false);
        }
        if !metadata.permissions().readonly() {
            // Who put it there is not known, so it is kept as if a client had.
            file.set_permissions(Permissions::from_mode(PUSHED))
                .at(path)?;
        }
        self.note_checked(digest, path)?;
        Ok(true)
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
        let metadata = file.metadata().at(source)?;
        if inode(source)? != Some(metadata.ino()) || !self.touch(file, &metadata, source)? {
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
        self.remove_if_unlinked(&self.blob(digest)).map(drop)
    }

    pub(super) fn link(
        &self,
        source: &Path,
        repository: &str,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let link = self.blob_link(repository, digest);
        let directory = link.parent().unwrap_or(&link);
        durable::create_dirs(directory)?;
        let linked = {
            let _uses = self.uses();
            self.follow(source, || fs::hard_link(source, &link))
        };
        match linked {
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
    pub(super) fn discard(
        &self,
        repository: &str,
        digest: &Digest,
        known: u64,
    ) -> Result<(), StoreError> {
        if self.take_away(repository, digest, known)? {
            self.checked().count_damaged();
            tracing::error!(
                repository,
                %digest,
                "a blob on the disk was not what its digest says and is removed; push it again"
            );
        }
        Ok(())
    }

    /// The same without a word; false if something else is there.
    pub(super) fn take_away(
        &self,
        repository: &str,
        digest: &Digest,
        known: u64,
    ) -> Result<bool, StoreError> {
        let link = self.blob_link(repository, digest);
        let _changes = self.changes();
        if inode(&link)? != Some(known) {
            return Ok(false);
        }
        durable::remove(&link)?;
        self.remove_if_unlinked(&self.blob(digest))?;
        Ok(true)
    }

    /// Removes content that no repository has; returns how much that freed.
    pub(super) fn remove_if_unlinked(&self, blob: &Path) -> Result<u64, StoreError> {
        match if_there(fs::metadata(blob), blob)? {
            Some(metadata) if metadata.nlink() == 1 => {
                durable::remove(blob)?;
                let size = disk::size(&metadata);
                self.disk().freed(size);
                Ok(size)
            }
            _ => Ok(0),
        }
    }

    /// Removes content that a crash left between its rename and its link, or between the removal of
    /// its last link and its own.
    pub(super) fn remove_unlinked(&self) -> Result<(), StoreError> {
        self.for_each_blob(|_, path, _| self.remove_if_unlinked(path).map(drop))
    }
}

/// Whether the upstream has this content still, as far as is known.
pub(super) fn is_pulled(metadata: &Metadata) -> bool {
    metadata.mode() & 0o777 == PULLED
}

pub(super) fn inode(path: &Path) -> Result<Option<u64>, StoreError> {
    let metadata = if_there(fs::metadata(path), path)?;
    Ok(metadata.map(|metadata| metadata.ino()))
}
