use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::durable;
use super::error::{At as _, if_there};
use super::open::{self, Found};
use super::{Digest, Manifest, Origin, Store, StoreError};

/// Beside a manifest that came from the upstream and was never pushed: it can be had again.
const PULLED: &str = "pulled";

/// What names a manifest.
#[derive(Clone, Debug)]
pub(crate) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl Store {
    /// Stores a manifest that a client pushed and points tags to it, if `may_change` says so of the digest
    /// to which `reference` leads now, if it leads anywhere. All of it is one change.
    ///
    /// # Errors
    /// It does not say so, or the file system refuses.
    pub(crate) fn push_manifest(
        &self,
        repository: &str,
        manifest: &Manifest,
        tags: &[String],
        reference: &Reference,
        may_change: impl Fn(Option<&Digest>) -> bool,
    ) -> Result<(), StoreError> {
        self.with_room(|| {
            self.disk().room_for(manifest.content.len())?;
            let _changes = self.changes();
            self.check(repository, reference, &may_change)?;
            self.write_manifest(repository, manifest, Origin::Push)?;
            let digest = &manifest.digest;
            let mut tags = tags.iter();
            tags.try_for_each(|tag| self.write_tag(repository, tag, digest, Origin::Push))
        })
    }

    /// Stores a manifest of the upstream's whose digest was verified. One that was pushed stays the
    /// repository's own.
    pub(crate) fn put_pulled_manifest(
        &self,
        repository: &str,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        let written = self.with_room(|| {
            self.disk().room_for(manifest.content.len())?;
            let _changes = self.changes();
            self.write_manifest(repository, manifest, Origin::Upstream)
        });
        self.unless_full(written)
    }

    /// For those who hold the lock of changes.
    fn check(
        &self,
        repository: &str,
        reference: &Reference,
        may_change: impl Fn(Option<&Digest>) -> bool,
    ) -> Result<(), StoreError> {
        let current = match reference {
            Reference::Digest(digest) => {
                let known = self.has_manifest(repository, digest)?;
                known.then(|| digest.clone())
            }
            Reference::Tag(tag) => match self.tag(repository, tag) {
                // A tag that cannot be read leads nowhere.
                Err(StoreError::Corrupt(_)) => None,
                tag => tag?.map(|tag| tag.digest),
            },
        };
        let may_change = may_change(current.as_ref());
        may_change.then_some(()).ok_or(StoreError::ConditionFailed)
    }

    /// For those who hold the lock of changes.
    fn write_manifest(
        &self,
        repository: &str,
        manifest: &Manifest,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let path = self.manifest_file(repository, &manifest.digest);
        let mark = mark(&path);
        let known = self.has_manifest(repository, &manifest.digest)?;
        // The content last: what there is of a manifest without it does not count.
        self.put_referrer(repository, manifest)?;
        if origin == Origin::Upstream && !known {
            durable::replace(&self.tmp(), &mark, b"")?;
        }
        durable::replace(&self.tmp(), &path, &manifest.content)?;
        if origin == Origin::Push {
            durable::remove(&mark)?;
        }
        self.disk().took(if known {
            0
        } else {
            taken(manifest.content.len())
        });
        self.catalog().insert(repository.to_owned());
        Ok(())
    }

    /// Reads a manifest. One that is not what its digest says is as good as none: a push, or a pull
    /// from upstream, puts the right one in its place.
    ///
    /// # Errors
    /// The repository does not have it.
    pub(crate) fn manifest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Manifest, StoreError> {
        let path = self.manifest_file(repository, digest);
        let Some(Found::File(mut file, metadata)) = open::open(&path)? else {
            return Err(StoreError::ManifestUnknown);
        };
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut content).at(&path)?;
        match Manifest::parse(digest.algorithm(), content) {
            Ok(manifest) if manifest.digest == *digest => {
                let there = self.touch(&file, &metadata, &path)?;
                there.then_some(manifest).ok_or(StoreError::ManifestUnknown)
            }
            _ => {
                self.discard_manifest(repository, digest)?;
                Err(StoreError::ManifestUnknown)
            }
        }
    }

    pub(crate) fn has_manifest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let path = self.manifest_file(repository, digest);
        let found = if_there(fs::metadata(&path), &path)?;
        Ok(found.is_some_and(|found| found.is_file()))
    }

    /// Deletes a tag, whose manifest stays, or a manifest and the tags that point to it, if `may_change` says
    /// so of the digest to which `reference` leads now.
    ///
    /// # Errors
    /// It does not say so, or the repository does not have it.
    pub(crate) fn delete_manifest(
        &self,
        repository: &str,
        reference: &Reference,
        may_change: impl Fn(Option<&Digest>) -> bool,
    ) -> Result<(), StoreError> {
        let _changes = self.changes();
        self.check(repository, reference, may_change)?;
        match reference {
            Reference::Digest(digest) => self.remove_manifest(repository, digest).map(drop),
            Reference::Tag(tag) => {
                let removed = durable::remove(&self.tags_dir(repository).join(tag))?;
                removed.then_some(()).ok_or(StoreError::ManifestUnknown)
            }
        }
    }

    /// Removes a manifest and the tags that point to it, for those who hold the lock of changes. Returns how
    /// many bytes that freed.
    pub(super) fn remove_manifest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<u64, StoreError> {
        let mut names = Vec::new();
        Self::for_each_name(&self.tags_dir(repository), |name| {
            names.push(name);
            Ok(())
        })?;
        self.remove_manifest_and(repository, digest, &names)
    }

    /// The same, where no other tags than these can point to it.
    pub(super) fn remove_manifest_and(
        &self,
        repository: &str,
        digest: &Digest,
        names: &[String],
    ) -> Result<u64, StoreError> {
        let path = self.manifest_file(repository, digest);
        let content = match open::read(&path) {
            Err(StoreError::Corrupt(_)) => Vec::new(),
            content => content?.ok_or(StoreError::ManifestUnknown)?,
        };
        for name in names {
            match self.tag(repository, name) {
                Ok(Some(tag)) if tag.digest == *digest => {
                    durable::remove(&self.tags_dir(repository).join(name))?;
                }
                // One that cannot be read does not keep this one from going.
                Ok(_) | Err(StoreError::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        durable::remove(&path)?;
        durable::remove(&mark(&path))?;
        if !self.has_manifests(repository)? {
            self.catalog().remove(repository);
        }
        let bytes = taken(content.len());
        self.disk().freed(bytes);
        // The entry of a damaged one among the referrers does not count without it.
        if let Ok(manifest) = Manifest::parse(digest.algorithm(), content) {
            self.remove_referrer(repository, digest, &manifest)?;
        }
        Ok(bytes)
    }

    /// Whether the manifest at this path came from the upstream and was never pushed.
    pub(super) fn is_pulled_manifest(manifest: &Path) -> Result<bool, StoreError> {
        let mark = mark(manifest);
        mark.try_exists().at(&mark)
    }

    /// Whether the repository has ever been written to.
    pub(crate) fn has_repository(&self, repository: &str) -> Result<bool, StoreError> {
        let directory = self.repository(repository);
        for part in ["_manifests", "_blobs"] {
            let path = directory.join(part);
            if path.try_exists().at(&path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn mark(manifest: &Path) -> PathBuf {
    manifest.with_extension(PULLED)
}

/// What a file of this length takes, about.
fn taken(length: usize) -> u64 {
    length.next_multiple_of(4096) as u64
}
