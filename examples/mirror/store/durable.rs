//! Changes of the file system that a crash leaves either undone or done.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::StoreError;
use super::error::At as _;

/// Makes a directory and its parents, each one's entry synced.
pub(super) fn create_dirs(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    create_dirs(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.at(path).and_then(|()| sync_dir(parent)),
    }
}

/// Puts `content` at `target`, in place of what is there, by way of a file in `tmp`.
pub(super) fn replace(tmp: &Path, target: &Path, content: &[u8]) -> Result<(), StoreError> {
    create_dirs(parent(target))?;
    let path = unique(tmp)?;
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| rename_over(&path, target));
    if let Err(error) = moved {
        // Else the sweep at the next start does it.
        let _ = fs::remove_file(&path);
        return Err(error).at(target);
    }
    sync_dir(parent(target))
}

/// Makes `link` a hard link to `source`, in place of what is there, by way of a name in `tmp`. Must not
/// be one already: then the way would stay.
pub(super) fn relink(tmp: &Path, source: &Path, link: &Path) -> Result<(), StoreError> {
    let path = unique(tmp)?;
    fs::hard_link(source, &path).at(&path)?;
    if let Err(error) = rename_over(&path, link) {
        // Else the sweep at the next start does it.
        let _ = fs::remove_file(&path);
        return Err(error).at(link);
    }
    sync_dir(parent(link))
}

/// Renames a file over what is there: also over a directory, which another program put in the place of a file.
pub(super) fn rename_over(file: &Path, target: &Path) -> io::Result<()> {
    match fs::rename(file, target) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            fs::remove_dir_all(target)?;
            fs::rename(file, target)
        }
        result => result,
    }
}

/// Removes a file, or a directory that is in its place.
pub(super) fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir_all(path),
        result => result,
    }
}

/// Removes a file; false if it was not there.
pub(super) fn remove(path: &Path) -> Result<bool, StoreError> {
    match unlink(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        result => {
            result.at(path)?;
            sync_dir(parent(path))?;
            Ok(true)
        }
    }
}

pub(super) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .at(path)
}

/// A name in `directory` that is unique and cannot be guessed.
pub(super) fn unique(directory: &Path) -> Result<PathBuf, StoreError> {
    Ok(directory.join(random_name(directory)?))
}

/// 128 random bits in hexadecimal.
pub(super) fn random_name(place: &Path) -> Result<String, StoreError> {
    let random = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
    let (high, low) = random.map_err(io::Error::from).at(place)?;
    Ok(format!("{high:016x}{low:016x}"))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
