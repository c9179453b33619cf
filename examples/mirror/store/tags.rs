use std::fs;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::durable;
use super::error::{At as _, if_there};
use super::{Digest, Store, StoreError};

/// What a tag points to.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) digest: Digest,
    pub(crate) origin: Origin,
    /// When it was set or, for one of the upstream's, last found to be the same there.
    pub(crate) checked: SystemTime,
}

/// Who set a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// A client, here.
    Push,
    /// The upstream registry, which may move it.
    Upstream,
}

#[derive(Deserialize, Serialize)]
struct Record {
    digest: String,
    origin: Origin,
}

impl Store {
    /// Points a tag to a manifest of the same repository.
    ///
    /// # Errors
    /// The manifest is not there.
    pub(crate) fn put_tag(
        &self,
        repository: &str,
        name: &str,
        digest: &Digest,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let path = self.tags_dir(repository).join(name);
        let record = Record {
            digest: digest.to_string(),
            origin,
        };
        let text = serde_json::to_vec(&record)
            .map_err(std::io::Error::from)
            .at(&path)?;
        let _changes = self.changes();
        if !self.has_manifest(repository, digest)? {
            return Err(StoreError::ManifestUnknown);
        }
        durable::replace(&self.tmp(), &path, &text)
    }

    /// Reads a tag; `None` where there is none.
    pub(crate) fn tag(&self, repository: &str, name: &str) -> Result<Option<Tag>, StoreError> {
        let path = self.tags_dir(repository).join(name);
        let Some(text) = if_there(fs::read(&path), &path)? else {
            return Ok(None);
        };
        let Some(metadata) = if_there(fs::metadata(&path), &path)? else {
            return Ok(None);
        };
        let record: Record =
            serde_json::from_slice(&text).map_err(|_| StoreError::Corrupt(path.clone()))?;
        let digest = record.digest.parse();
        Ok(Some(Tag {
            digest: digest.map_err(|_| StoreError::Corrupt(path.clone()))?,
            origin: record.origin,
            checked: metadata.modified().at(&path)?,
        }))
    }

    /// Deletes a tag; its manifest stays.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn delete_tag(&self, repository: &str, name: &str) -> Result<(), StoreError> {
        let _changes = self.changes();
        if durable::remove(&self.tags_dir(repository).join(name))? {
            Ok(())
        } else {
            Err(StoreError::ManifestUnknown)
        }
    }

    /// The names of a repository's tags, in the order of their bytes.
    pub(crate) fn tag_names(&self, repository: &str) -> Result<Vec<String>, StoreError> {
        let directory = self.tags_dir(repository);
        let Some(entries) = if_there(fs::read_dir(&directory), &directory)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.at(&directory)?.file_name();
            let name = name.into_string();
            names.push(name.map_err(|_| StoreError::Corrupt(directory.clone()))?);
        }
        names.sort_unstable();
        Ok(names)
    }
}
