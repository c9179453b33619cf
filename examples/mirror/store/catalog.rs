use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::Path;

use super::walk::subdirectories;
use super::{Store, StoreError};

impl Store {
    /// The names of at most `count` repositories that have a manifest, in the order of their bytes, of
    /// those after `last`. From an index in memory: it costs what it returns.
    pub(crate) fn repository_names(&self, last: Option<&str>, count: usize) -> Vec<String> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let catalog = self.catalog();
        let after = catalog.range::<str, _>((start, Bound::Unbounded));
        after.take(count).cloned().collect()
    }

    /// The names of the repositories that have a manifest, from the disk.
    pub(super) fn repositories_with_manifests(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut found = self.all_repositories()?;
        let mut failed = None;
        found.retain(|name| match self.has_manifests(name) {
            Ok(has) => has,
            Err(error) => {
                failed = Some(error);
                false
            }
        });
        failed.map_or(Ok(found), Err)
    }

    pub(super) fn has_manifests(&self, repository: &str) -> Result<bool, StoreError> {
        let mut has = false;
        self.for_each_manifest(repository, |_, _, _| {
            has = true;
            Ok(())
        })?;
        Ok(has)
    }

    /// The names of the repositories that have blobs or manifests, or ever had.
    pub(super) fn all_repositories(&self) -> Result<BTreeSet<String>, StoreError> {
        let root = self.repositories();
        let mut names = BTreeSet::new();
        let mut waiting = vec![root.clone()];
        while let Some(directory) = waiting.pop() {
            for child in subdirectories(&directory)? {
                match child.file_name().and_then(|name| name.to_str()) {
                    Some("_blobs" | "_manifests") => {
                        let name = directory.strip_prefix(&root).ok().and_then(Path::to_str);
                        names.extend(name.map(str::to_owned));
                    }
                    Some(name) if !name.starts_with('_') => waiting.push(child),
                    _ => {}
                }
            }
        }
        Ok(names)
    }
}
