use std::fs;
use std::path::PathBuf;

use super::durable;
use super::error::{At as _, if_there};
use super::{Descriptor, Digest, Manifest, Store, StoreError};

impl Store {
    /// The descriptors of those manifests of `repository` whose `subject` this is, in the order of
    /// their digests.
    pub(crate) fn referrers(
        &self,
        repository: &str,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let directory = self.referrers_dir(repository, subject);
        let Some(entries) = if_there(fs::read_dir(&directory), &directory)? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.at(&directory)?.path();
            let Some(text) = if_there(fs::read(&path), &path)? else {
                continue;
            };
            let descriptor: Descriptor =
                serde_json::from_slice(&text).map_err(|_| StoreError::Corrupt(path.clone()))?;
            let digest = descriptor.digest.parse();
            let digest = digest.map_err(|_| StoreError::Corrupt(path))?;
            // A crash may have left the entry without its manifest.
            if self.has_manifest(repository, &digest)? {
                found.push(descriptor);
            }
        }
        found.sort_unstable_by(|a, b| a.digest.cmp(&b.digest));
        Ok(found)
    }

    pub(super) fn put_referrer(
        &self,
        repository: &str,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        let Some(path) = self.referrer_file(repository, &manifest.digest, manifest) else {
            return Ok(());
        };
        let text = serde_json::to_vec(&manifest.descriptor())
            .map_err(std::io::Error::from)
            .at(&path)?;
        durable::replace(&self.tmp(), &path, &text)
    }

    /// `digest` is the name of the manifest, which damage may have made another than that of what is
    /// there.
    pub(super) fn remove_referrer(
        &self,
        repository: &str,
        digest: &Digest,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        match self.referrer_file(repository, digest, manifest) {
            Some(path) => durable::remove(&path).map(drop),
            None => Ok(()),
        }
    }

    fn referrer_file(
        &self,
        repository: &str,
        digest: &Digest,
        manifest: &Manifest,
    ) -> Option<PathBuf> {
        let subject = manifest.subject.as_ref()?;
        let name = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
        Some(self.referrers_dir(repository, subject).join(name))
    }
}
