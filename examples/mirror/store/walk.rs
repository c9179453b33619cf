//! Walks over what is on the disk. What is removed meanwhile is left out.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use super::error::{At as _, if_there};
use super::{Digest, Store, StoreError, disk};

impl Store {
    /// Calls `see` for the content of each blob.
    pub(super) fn for_each_blob(
        &self,
        mut see: impl FnMut(Digest, &Path, &Metadata) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for algorithm in subdirectories(&self.blobs())? {
            for shard in subdirectories(&algorithm)? {
                for_each_in(&algorithm, &shard, &mut see)?;
            }
        }
        Ok(())
    }

    /// Calls `see` for each blob that `repository` has.
    pub(super) fn for_each_link(
        &self,
        repository: &str,
        mut see: impl FnMut(Digest, &Path, &Metadata) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for algorithm in subdirectories(&self.repository(repository).join("_blobs"))? {
            for_each_in(&algorithm, &algorithm, &mut see)?;
        }
        Ok(())
    }

    /// Calls `see` for each manifest that `repository` has.
    pub(super) fn for_each_manifest(
        &self,
        repository: &str,
        mut see: impl FnMut(Digest, &Path, &Metadata) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for algorithm in subdirectories(&self.repository(repository).join("_manifests"))? {
            for_each_in(&algorithm, &algorithm, &mut see)?;
        }
        Ok(())
    }

    /// Calls `see` for each name in a directory.
    pub(super) fn for_each_name(
        directory: &Path,
        mut see: impl FnMut(String) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(entries) = if_there(fs::read_dir(directory), directory)? else {
            return Ok(());
        };
        for entry in entries {
            let name = entry.at(directory)?.file_name().into_string();
            see(name.map_err(|_| StoreError::Corrupt(directory.to_owned()))?)?;
        }
        Ok(())
    }

    /// What blobs and manifests take.
    pub(super) fn measure(&self) -> Result<u64, StoreError> {
        let mut total = 0;
        let mut add = |_: Digest, _: &Path, metadata: &Metadata| {
            total += disk::size(metadata);
            Ok(())
        };
        self.for_each_blob(&mut add)?;
        for repository in self.all_repositories()? {
            self.for_each_manifest(&repository, &mut add)?;
        }
        Ok(total)
    }
}

/// Calls `see` for each file in `directory` whose name is a digest of the algorithm that `algorithm` is
/// called after.
fn for_each_in(
    algorithm: &Path,
    directory: &Path,
    see: &mut impl FnMut(Digest, &Path, &Metadata) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let algorithm = algorithm.file_name().and_then(|name| name.to_str());
    let algorithm = algorithm.unwrap_or_default();
    let Some(entries) = if_there(fs::read_dir(directory), directory)? else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.at(directory)?;
        let name = entry.file_name();
        let digest = name.to_str().map(|hex| format!("{algorithm}:{hex}"));
        let Some(Ok(digest)) = digest.map(|text| text.parse()) else {
            continue;
        };
        let path = entry.path();
        if let Some(metadata) = if_there(entry.metadata(), &path)? {
            see(digest, &path, &metadata)?;
        }
    }
    Ok(())
}

pub(super) fn subdirectories(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let Some(entries) = if_there(fs::read_dir(directory), directory)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.at(directory)?;
        if entry.file_type().at(directory)?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The `count` names of those seen that come first, in the order of their bytes.
pub(super) struct First {
    count: usize,
    after: Option<String>,
    names: std::collections::BinaryHeap<String>,
}

impl First {
    /// Of those after `after`, if that is given.
    pub(super) fn new(count: usize, after: Option<&str>) -> Self {
        Self {
            count,
            after: after.map(str::to_owned),
            names: std::collections::BinaryHeap::new(),
        }
    }

    pub(super) fn see(&mut self, name: String) {
        if self.after.as_ref().is_some_and(|after| name <= *after) {
            return;
        }
        if self.names.len() < self.count {
            self.names.push(name);
        } else if let Some(mut last) = self.names.peek_mut()
            && name < *last
        {
            *last = name;
        }
    }

    pub(super) fn into_sorted(self) -> Vec<String> {
        self.names.into_sorted_vec()
    }
}
