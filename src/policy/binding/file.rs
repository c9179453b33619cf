use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::format;
use super::table::Table;
use crate::policy::PolicyError;
use crate::util::file;
use crate::util::patience::within;

/// The file in which a [`DigestBinding`](super::DigestBinding) keeps what it knows.
#[derive(Clone, Debug)]
pub(super) struct DigestFile {
    /// Its directory must be there and writable: a file beside it takes its place.
    pub(super) path: PathBuf,
    pub(super) options: FileOptions,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FileOptions {
    /// How often what is new is written.
    pub(super) interval: Duration,
    /// Whether a file that cannot be read, or is not what was written, is forgotten.
    pub(super) forgets_damaged: bool,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            forgets_damaged: false,
        }
    }
}

/// Below this a disk does nothing else.
pub(super) const SHORTEST: Duration = Duration::from_secs(1);

impl DigestFile {
    /// Puts what the file knows into `table`.
    pub(super) fn read_into(&self, table: &Table) -> Result<(), PolicyError> {
        match self.read(table) {
            Err(error) if self.options.forgets_damaged => {
                // The file stays until there is something to put in its place: a program that only
                // checks its configuration writes nothing.
                tracing::warn!(%error, "what was known of digests is forgotten");
                Ok(())
            }
            read => read,
        }
    }

    fn read(&self, table: &Table) -> Result<(), PolicyError> {
        let path = || self.path.clone();
        let owned = self.path.clone();
        let opened = within(&self.path, move |_| file::open(&owned)).unwrap_or_else(Err);
        let read = opened.and_then(|(file, _)| {
            warn_if_open(&self.path, &file);
            format::read(table, file)
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(PolicyError::DigestsDamaged {
                    path: path(),
                    error,
                })
            }
            read => {
                // It is in the file already.
                table.take_changed();
                read.map_err(|error| PolicyError::DigestsUnreadable {
                    path: path(),
                    error,
                })
            }
        }
    }

    /// Whether the file could be written, found out without doing it.
    pub(super) fn probe(&self) -> Result<(), PolicyError> {
        beside(&self.path)
            .map(drop)
            .map_err(|error| unwritable(&self.path, error))
    }
}

/// Writes what `table` knows to `path`: whole or not at all, whatever happens meanwhile.
pub(super) fn write(path: &Path, table: &Table) -> Result<(), PolicyError> {
    let written = beside(path).and_then(|mut file| {
        format::write(table, &mut file)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(directory(path))?.sync_all()
    });
    written.map_err(|error| unwritable(path, error))
}

/// A file for the owner only that is removed if it is not given the name.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".unfinished-")
        .tempfile_in(directory(path))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn unwritable(path: &Path, error: io::Error) -> PolicyError {
    let path = path.to_owned();
    PolicyError::DigestsUnwritable { path, error }
}

#[cfg(unix)]
fn warn_if_open(path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt;

    let mode = file.metadata().map_or(0, |data| data.permissions().mode());
    if mode & 0o022 != 0 {
        tracing::warn!(
            file = %path.display(),
            "others than its owner may write this file, and so say what is given to whom"
        );
    }
}

#[cfg(not(unix))]
fn warn_if_open(_: &Path, _: &File) {}
