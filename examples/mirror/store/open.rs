//! Opens content without waiting for what is none: a FIFO or a device, in the place of a file, would never end.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::StoreError;
use super::error::{At as _, if_there};

/// What is under a name.
pub(super) enum Found {
    File(File, Metadata),
    /// No regular file, which only another program can have put there: its inode.
    Other(u64),
}

/// Opens what is at `path`; `None` if nothing is.
pub(super) fn open(path: &Path) -> Result<Option<Found>, StoreError> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let metadata = match &opened {
        Ok(file) => Some(file.metadata().at(path)?),
        // Some of what is no file cannot be opened at all.
        Err(_) => if_there(fs::metadata(path), path)?,
    };
    if let Some(other) = metadata.as_ref().filter(|it| !it.is_file()) {
        return Ok(Some(Found::Other(other.ino())));
    }
    let opened = if_there(opened, path)?;
    Ok(opened
        .zip(metadata)
        .map(|(file, metadata)| Found::File(file, metadata)))
}

/// Reads the file at `path`; `None` if nothing is there.
///
/// # Errors
/// It is no regular file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match open(path)? {
        None => Ok(None),
        Some(Found::Other(_)) => Err(StoreError::Corrupt(path.to_owned())),
        Some(Found::File(mut file, metadata)) => {
            let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
            file.read_to_end(&mut content).at(path)?;
            Ok(Some(content))
        }
    }
}
