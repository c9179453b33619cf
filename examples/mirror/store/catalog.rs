use std::fs;
use std::path::{Path, PathBuf};

use super::error::{At as _, if_there};
use super::{Store, StoreError};

impl Store {
    /// The names of the repositories that have a manifest, in the order of their bytes.
    pub(crate) fn repository_names(&self) -> Result<Vec<String>, StoreError> {
        self.repositories_with(|part, path| Ok(part == "_manifests" && has_file(path)?))
    }

    /// The names of the repositories that have blobs, or ever had.
    pub(super) fn all_repositories(&self) -> Result<Vec<String>, StoreError> {
        self.repositories_with(|part, _| Ok(part == "_blobs"))
    }

    /// The names of the repositories of whose parts one is such.
    fn repositories_with(
        &self,
        is_such: impl Fn(&str, &Path) -> Result<bool, StoreError>,
    ) -> Result<Vec<String>, StoreError> {
        let root = self.repositories();
        let mut names = Vec::new();
        let mut waiting = vec![root.clone()];
        while let Some(directory) = waiting.pop() {
            for child in subdirectories(&directory)? {
                let name = child.file_name().and_then(|name| name.to_str());
                match name {
                    Some(part) if is_such(part, &child)? => {
                        let name = directory.strip_prefix(&root).ok().and_then(Path::to_str);
                        names.extend(name.map(str::to_owned));
                    }
                    Some(name) if !name.starts_with('_') => waiting.push(child),
                    _ => {}
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }
}

fn has_file(manifests: &Path) -> Result<bool, StoreError> {
    for algorithm in subdirectories(manifests)? {
        let entries = fs::read_dir(&algorithm).at(&algorithm)?;
        if entries.into_iter().next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn subdirectories(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
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
