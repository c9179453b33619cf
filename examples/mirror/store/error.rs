use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Digest;

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the repository is not known")]
    RepositoryUnknown,
    #[error("the blob is not known in this repository")]
    BlobUnknown,
    #[error("the manifest is not known in this repository")]
    ManifestUnknown,
    #[error("the upload is not known in this repository")]
    UploadUnknown,
    #[error("what is here is not what If-Match or If-None-Match asks for")]
    ConditionFailed,
    #[error("another request is writing to this upload")]
    UploadBusy,
    #[error("the caller has too many requests or uploads in flight")]
    CallerBusy,
    #[error("{}: no space is left for it", .0.display())]
    Full(PathBuf),
    #[error("the content's digest is {actual}, not {expected}")]
    DigestMismatch { expected: Digest, actual: Digest },
    #[error("{} is in use by another process", .0.display())]
    Locked(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: not what the store writes there", .0.display())]
    Corrupt(PathBuf),
    /// Of a check that others wait for too.
    #[error("{0}")]
    Check(Arc<StoreError>),
    #[error("the server is stopping")]
    Stopping,
}

/// Names the file in an I/O error.
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, StoreError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => StoreError::Full(path.to_owned()),
            _ => StoreError::Io {
                path: path.to_owned(),
                source,
            },
        })
    }
}

/// `None` for what is not there, instead of an error.
pub(super) fn if_there<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(source) => Err(source).at(path),
    }
}
