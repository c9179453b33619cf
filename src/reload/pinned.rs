use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::util::descriptors::with_spare;
use crate::util::file::{self, ANY};
use crate::util::patience::{Progress, within};

/// Reads several files of one Kubernetes Secret or `ConfigMap` as they were at one moment.
///
/// Their directory holds symlinks through `..data`, which is swapped when the volume changes; two
/// files read in turn could come from two versions. Here each directory's `..data` is resolved
/// once. Plain directories are read as they are.
///
/// Only regular files are read, up to a size, and a read of which nothing comes is given up.
#[derive(Debug, Default)]
pub struct Pinned(Versions);

/// Where each directory led when it was first asked for.
#[derive(Clone, Debug, Default)]
struct Versions(HashMap<PathBuf, Option<PathBuf>>);

/// The files that a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg(feature = "tls")]
pub(crate) enum Given {
    /// The path is this file's.
    Named(PathBuf),
    /// The path is a folder's, and these are found in it.
    Folder(Vec<PathBuf>),
}

impl Pinned {
    /// Begins a reading; make a new one for each load.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the file's content, of at most 256 MiB.
    ///
    /// # Errors
    /// Returns the errors of [`fs::read`], and one with a text of its own for a file that is no regular one, is too
    /// large or cannot be read to its end. `NotFound` may mean that the version went away meanwhile: load again.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_at_most(path, ANY)
    }

    /// Returns the content of a file of at most `max` bytes, as [`Pinned::read`] does.
    ///
    /// # Errors
    /// Returns the errors of [`Pinned::read`].
    pub fn read_at_most(&mut self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        self.patiently(path, move |versions, path, progress| {
            file::read_here(&versions.resolve(path), max, progress)
        })?
    }

    /// Returns the directory's files in order of their names, without those that begin with a dot. What is no
    /// file and no directory is among them, so that reading it fails.
    ///
    /// # Errors
    /// Returns the errors of [`fs::read_dir`].
    pub fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.patiently(directory, Versions::list)?
    }

    /// The files that a path stands for: its own, or those of its directory.
    #[cfg(feature = "tls")]
    pub(crate) fn given(&mut self, path: &Path) -> io::Result<Given> {
        self.patiently(path, |versions, path, progress| {
            if path.is_dir() {
                versions.list(path, progress).map(Given::Folder)
            } else {
                Ok(Given::Named(path.to_owned()))
            }
        })?
    }

    /// What distinguishes the state of the file that [`Pinned::read`] would read from other states.
    #[cfg(feature = "crl")]
    pub(crate) fn fingerprint(&mut self, path: &Path) -> super::Fingerprint {
        let resolved = self.patiently(path, |versions, path, _| versions.resolve(path));
        super::Fingerprint::of(&[resolved.unwrap_or_else(|_| path.to_owned())])
    }

    /// Does this on a thread that can be given up.
    fn patiently<T: Send + 'static>(
        &mut self,
        path: &Path,
        work: impl FnOnce(&mut Versions, &Path, &Progress) -> T + Send + 'static,
    ) -> io::Result<T> {
        let (mut versions, owned) = (self.0.clone(), path.to_owned());
        let done = within(path, move |progress| {
            let done = work(&mut versions, &owned, progress);
            (versions, done)
        });
        let (versions, done) = done?;
        self.0 = versions;
        Ok(done)
    }
}

impl Versions {
    fn list(&mut self, directory: &Path, progress: &Progress) -> io::Result<Vec<PathBuf>> {
        let version = self.version(&directory.join("..data"));
        let version = version.or_else(|| self.version(directory));
        let mut files = Vec::new();
        let place = version.as_deref().unwrap_or(directory);
        for entry in with_spare(|| fs::read_dir(place))? {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && !fs::metadata(entry.path())?.is_dir() {
                files.push(directory.join(entry.file_name()));
            }
            progress.made();
        }
        files.sort();
        Ok(files)
    }

    fn resolve(&mut self, path: &Path) -> PathBuf {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return path.to_owned();
        };
        let directory = directory(parent);
        // A file that was put beside `..data` is no part of the version.
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
        if let Some(known) = self.0.get(place) {
            return known.clone();
        }
        let found = fs::canonicalize(place).ok();
        self.0.insert(place.to_owned(), found.clone());
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
