use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Reads several files of one Kubernetes Secret or `ConfigMap` as they were at one moment.
///
/// Their directory holds symlinks through `..data`, which is swapped when the volume changes; two
/// files read in turn could come from two versions. Here each directory's `..data` is resolved
/// once. Plain directories are read as they are.
#[derive(Debug, Default)]
pub struct Pinned {
    versions: HashMap<PathBuf, Option<PathBuf>>,
}

impl Pinned {
    /// Begins a reading; make a new one for each load.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file's content.
    ///
    /// # Errors
    /// As of [`fs::read`]. `NotFound` may mean that the version went away meanwhile: load again.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(self.resolve(path))
    }

    /// The directory's files in order of their names, without those that begin with a dot.
    ///
    /// # Errors
    /// As of [`fs::read_dir`].
    pub fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let version = self.version(directory);
        let mut files = Vec::new();
        for entry in fs::read_dir(version.as_deref().unwrap_or(directory))? {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && fs::metadata(entry.path())?.is_file() {
                files.push(directory.join(entry.file_name()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn resolve(&mut self, path: &Path) -> PathBuf {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return path.to_owned();
        };
        match self.version(directory) {
            // A file that somebody put beside `..data` is no part of the version.
            Some(version) if version.join(name).exists() => version.join(name),
            _ => path.to_owned(),
        }
    }

    fn version(&mut self, directory: &Path) -> Option<PathBuf> {
        if let Some(known) = self.versions.get(directory) {
            return known.clone();
        }
        let found = fs::canonicalize(directory.join("..data")).ok();
        self.versions.insert(directory.to_owned(), found.clone());
        found
    }
}
