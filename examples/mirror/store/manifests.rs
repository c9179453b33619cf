use std::fs;

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
        let path = self.manifest_file(repository, &manifest.digest);
        let mark = path.with_extension(PULLED);
        let _changes = self.changes();
        // The content last: what there is of a manifest without it does not count.
        self.put_referrer(repository, manifest)?;
        if origin == Origin::Upstream && !self.has_manifest(repository, &manifest.digest)? {
            durable::replace(&self.tmp(), &mark, b"")?;
        }
        durable::replace(&self.tmp(), &path, &manifest.content)?;
        if origin == Origin::Push {
            durable::remove(&mark)?;
        }
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
        let content = if_there(fs::read(&path), &path)?.ok_or(StoreError::ManifestUnknown)?;
        match Manifest::parse(digest.algorithm(), content) {
            Ok(manifest) if manifest.digest == *digest => Ok(manifest),
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
        let path = self.manifest_file(repository, digest);
        let content = if_there(fs::read(&path), &path)?.ok_or(StoreError::ManifestUnknown)?;
        for name in self.tag_names(repository)? {
            let tag = self.tag(repository, &name)?;
            if tag.is_some_and(|tag| tag.digest == *digest) {
                durable::remove(&self.tags_dir(repository).join(name))?;
            }
        }
        durable::remove(&path)?;
        durable::remove(&path.with_extension(PULLED))?;
        match Manifest::parse(digest.algorithm(), content) {
            Ok(manifest) => self.remove_referrer(repository, digest, &manifest),
            // Its entry among the referrers does not count without it.
            Err(_) => Ok(()),
        }
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
