use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::durable;
use super::error::{At as _, if_there};
use super::{Digest, Manifest, Origin, Store, StoreError};

/// Beside a manifest that came from the upstream and was never pushed: it can be had again.
const PULLED: &str = "pulled";

impl Store {
    /// Stores a manifest whose digest was verified. One that was pushed stays the repository's own,
    /// whatever comes from the upstream later.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        manifest: &Manifest,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let written = self.with_room(|| self.write_manifest(repository, manifest, origin));
        self.unless_full(origin, written)
    }

    fn write_manifest(
        &self,
        repository: &str,
        manifest: &Manifest,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let path = self.manifest_file(repository, &manifest.digest);
        let mark = mark(&path);
        self.disk().room_for(manifest.content.len())?;
        let _changes = self.changes();
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
        let mut file = if_there(File::open(&path), &path)?.ok_or(StoreError::ManifestUnknown)?;
        let metadata = file.metadata().at(&path)?;
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut content).at(&path)?;
        match Manifest::parse(digest.algorithm(), content) {
            Ok(manifest) if manifest.digest == *digest => {
                let there = self.touch(&file, &metadata, &path)?;
                there.then_some(manifest).ok_or(StoreError::ManifestUnknown)
            }
            _ => {
                tracing::error!(
                    repository,
                    %digest,
                    "a manifest on the disk is not what its digest says; push it again"
                );
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
        Ok(if_there(fs::metadata(&path), &path)?.is_some())
    }

    /// Deletes a manifest and the tags that point to it.
    ///
    /// # Errors
    /// The repository does not have it.
    pub(crate) fn delete_manifest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let _changes = self.changes();
        self.remove_manifest(repository, digest).map(drop)
    }

    /// As `delete_manifest`, for those who hold the lock of changes. Returns how many bytes that freed.
    pub(super) fn remove_manifest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<u64, StoreError> {
        let path = self.manifest_file(repository, digest);
        let content = if_there(fs::read(&path), &path)?.ok_or(StoreError::ManifestUnknown)?;
        let tags = self.tags_dir(repository);
        Self::for_each_name(&tags, |name| match self.tag(repository, &name) {
            Ok(Some(tag)) if tag.digest == *digest => durable::remove(&tags.join(name)).map(drop),
            // One that cannot be read does not keep this one from going.
            Ok(_) | Err(StoreError::Corrupt(_)) => Ok(()),
            Err(error) => Err(error),
        })?;
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
