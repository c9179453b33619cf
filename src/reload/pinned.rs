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
        let version = self.version(&directory.join("..data"));
        let version = version.or_else(|| self.version(directory));
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

    /// What tells the state of the file that [`Pinned::read`] would read from others of it.
    #[cfg(feature = "crl")]
    pub(crate) fn fingerprint(&mut self, path: &Path) -> super::Fingerprint {
        super::Fingerprint::of(&[self.resolve(path)])
    }

    fn resolve(&mut self, path: &Path) -> PathBuf {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return path.to_owned();
        };
        let directory = directory(parent);
        // A file that somebody put beside `..data` is no part of the version.
        let versioned = fs::read_link(path).is_ok_and(|target| target.starts_with("..data"));
        let place = if versioned {
            directory.join("..data")
        } else {
            directory.to_owned()
        };
        self.version(&place)
            .map_or_else(|| path.to_owned(), |version| version.join(name))
    }

    fn version(&mut self, place: &Path) -> Option<PathBuf> {
        if let Some(known) = self.versions.get(place) {
            return known.clone();
        }
        let found = fs::canonicalize(place).ok();
        self.versions.insert(place.to_owned(), found.clone());
        found
    }
}

fn directory(parent: &Path) -> &Path {
    if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    }
}
