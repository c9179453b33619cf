use std::fs::{self, File};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::durable;
use super::error::{At as _, if_there};
use super::walk::First;
use super::{Digest, Store, StoreError, open};

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
    /// Points a tag of the upstream's to its manifest, unless a client has pushed one of this name.
    ///
    /// # Errors
    /// The manifest is not there.
    pub(crate) fn put_pulled_tag(
        &self,
        repository: &str,
        name: &str,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let written = self.with_room(|| {
            let _changes = self.changes();
            if self.is_pushed(repository, name)? {
                return Ok(());
            }
            if !self.has_manifest(repository, digest)? {
                return Err(StoreError::ManifestUnknown);
            }
            self.write_tag(repository, name, digest, Origin::Upstream)
        });
        match written {
            // There was no room for its manifest.
            Err(StoreError::ManifestUnknown) if self.disk().problem().is_some() => Ok(()),
            written => self.unless_full(written),
        }
    }

    /// Deletes a tag that the upstream has no more, unless a client has pushed one of this name.
    pub(crate) fn forget_pulled_tag(&self, repository: &str, name: &str) -> Result<(), StoreError> {
        let _changes = self.changes();
        if self.is_pushed(repository, name)? {
            return Ok(());
        }
        durable::remove(&self.tags_dir(repository).join(name)).map(drop)
    }

    fn is_pushed(&self, repository: &str, name: &str) -> Result<bool, StoreError> {
        let known = self.tag(repository, name)?;
        Ok(known.is_some_and(|known| known.origin == Origin::Push))
    }

    /// Points a tag to a manifest, for those who hold the lock of changes.
    pub(super) fn write_tag(
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
        let known = match open::read(&path) {
            Err(StoreError::Corrupt(_)) => None,
            known => known?,
        };
        if known.is_some_and(|known| known == text) {
            // Only the time is new, which takes no space on a disk that has none.
            let file = File::open(&path).at(&path)?;
            return file.set_modified(SystemTime::now()).at(&path);
        }
        durable::replace(&self.tmp(), &path, &text)
    }

    /// Reads a tag; `None` where there is none.
    pub(crate) fn tag(&self, repository: &str, name: &str) -> Result<Option<Tag>, StoreError> {
        let path = self.tags_dir(repository).join(name);
        let Some(text) = open::read(&path)? else {
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

    /// The names of at most `count` of a repository's tags, in the order of their bytes, of those after
    /// `last`.
    pub(crate) fn tag_names(
        &self,
        repository: &str,
        last: Option<&str>,
        count: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut names = First::new(count, last);
        Self::for_each_name(&self.tags_dir(repository), |name| {
            names.see(name);
            Ok(())
        })?;
        Ok(names.into_sorted())
    }
}
