use std::fs;
use std::path::PathBuf;

use super::durable;
use super::error::{At as _, if_there};
use super::{Descriptor, Digest, Manifest, ManifestFields, Store, StoreError};

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
        fields: &ManifestFields,
    ) -> Result<(), StoreError> {
        let Some(path) = self.referrer_file(repository, &manifest.digest, fields) else {
            return Ok(());
        };
        // distribution-spec, "Listing Referrers": an image without `artifactType` has its config's
        // media type there, an index none.
        let config = fields.config.as_ref().map(|config| &config.media_type);
        let artifact_type = fields.artifact_type.as_ref();
        let artifact_type = artifact_type.filter(|text| !text.is_empty()).or(config);
        let descriptor = Descriptor {
            media_type: manifest.media_type.clone(),
            digest: manifest.digest.to_string(),
            size: manifest.content.len() as u64,
            artifact_type: artifact_type.cloned(),
            annotations: fields.annotations.clone(),
            urls: Vec::new(),
        };
        let text = serde_json::to_vec(&descriptor)
            .map_err(std::io::Error::from)
            .at(&path)?;
        durable::replace(&self.tmp(), &path, &text)
    }

    pub(super) fn remove_referrer(
        &self,
        repository: &str,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        let Ok(fields) = ManifestFields::parse(&manifest.content) else {
            return Ok(());
        };
        match self.referrer_file(repository, &manifest.digest, &fields) {
            Some(path) => durable::remove(&path).map(drop),
            None => Ok(()),
        }
    }

    fn referrer_file(
        &self,
        repository: &str,
        digest: &Digest,
        fields: &ManifestFields,
    ) -> Option<PathBuf> {
        let subject = fields.subject.as_ref()?.digest.parse().ok()?;
        let name = format!("{}-{}", digest.algorithm().as_str(), digest.hex());
        Some(self.referrers_dir(repository, &subject).join(name))
    }
}
