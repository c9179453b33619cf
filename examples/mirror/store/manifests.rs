use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::durable;
use super::error::{At as _, if_there};
use super::{Digest, Store, StoreError};

/// A manifest as it was pushed.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) content: Vec<u8>,
}

/// The fields of image-spec's manifest and index that a registry reads.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ManifestFields {
    pub(crate) media_type: Option<String>,
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Option<Descriptor>,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) blobs: Vec<Descriptor>,
    pub(crate) manifests: Option<Vec<Descriptor>>,
    pub(crate) subject: Option<Descriptor>,
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// A reference to content (image-spec, "Descriptors").
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing)]
    pub(crate) urls: Vec<String>,
}

impl Store {
    /// Stores a manifest whose digest was verified.
    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        manifest: &Manifest,
        fields: &ManifestFields,
    ) -> Result<(), StoreError> {
        let path = self.manifest_file(repository, &manifest.digest);
        let _changes = self.changes();
        // The content last: what there is of a manifest without it does not count.
        self.put_referrer(repository, manifest, fields)?;
        let media_type = manifest.media_type.as_bytes();
        durable::replace(&self.tmp(), &path.with_extension("type"), media_type)?;
        durable::replace(&self.tmp(), &path, &manifest.content)
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
        let manifest = self.read_manifest(repository, digest)?;
        if Digest::of(digest.algorithm(), &manifest.content) != *digest {
            tracing::error!(
                repository,
                %digest,
                "a manifest on the disk is not what its digest says; push it again"
            );
            return Err(StoreError::ManifestUnknown);
        }
        Ok(manifest)
    }

    fn read_manifest(&self, repository: &str, digest: &Digest) -> Result<Manifest, StoreError> {
        let path = self.manifest_file(repository, digest);
        let content = if_there(fs::read(&path), &path)?.ok_or(StoreError::ManifestUnknown)?;
        let path = path.with_extension("type");
        let media_type = if_there(fs::read_to_string(&path), &path)?;
        Ok(Manifest {
            digest: digest.clone(),
            // Deleted in between.
            media_type: media_type.ok_or(StoreError::ManifestUnknown)?,
            content,
        })
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
        let manifest = self.read_manifest(repository, digest)?;
        for name in self.tag_names(repository)? {
            let tag = self.tag(repository, &name)?;
            if tag.is_some_and(|tag| tag.digest == *digest) {
                durable::remove(&self.tags_dir(repository).join(name))?;
            }
        }
        let path = self.manifest_file(repository, digest);
        durable::remove(&path)?;
        durable::remove(&path.with_extension("type"))?;
        self.remove_referrer(repository, &manifest)
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

impl ManifestFields {
    /// Reads what is known of `content`.
    ///
    /// # Errors
    /// It is no JSON object, or a known field is of the wrong type.
    pub(crate) fn parse(content: &[u8]) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;

        // serde would take an array for the fields in their order.
        if content.trim_ascii_start().first() != Some(&b'{') {
            return Err(serde_json::Error::custom("not a JSON object"));
        }
        serde_json::from_slice(content)
    }

    /// The blobs that the manifest needs in its own repository.
    pub(crate) fn needed_blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let blobs = self.layers.iter().chain(&self.blobs);
        // A layer with `urls` may be kept elsewhere only (image-spec, "Non-distributable Layers").
        let blobs = blobs.filter(|descriptor| descriptor.urls.is_empty());
        self.config.iter().chain(blobs)
    }
}
