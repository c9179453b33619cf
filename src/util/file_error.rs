use std::io;

/// Why a file is not read though the system would let it be. Comes as the inner error of an
/// [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// Not a file with content: reading it may never end.
    #[error("it is {kind}, not a regular file")]
    NotRegular {
        /// What it is.
        kind: &'static str,
    },
    /// Larger than any good one of its kind.
    #[error("it is larger than {max} bytes, the most for a file of its kind")]
    TooLarge {
        /// How large it may be, in bytes.
        max: u64,
    },
    /// Nothing comes of it: a network mount whose server is gone, for example.
    #[error("reading it does not end: nothing has come for {seconds} s")]
    Stuck {
        /// For how many seconds.
        seconds: u64,
    },
    /// So many other files are stuck that no further one is tried.
    #[error("it is not tried, because reading {stuck} other files does not end")]
    ManyStuck {
        /// How many.
        stuck: usize,
    },
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        let kind = match error {
            FileError::NotRegular { .. } => io::ErrorKind::InvalidInput,
            FileError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            FileError::Stuck { .. } => io::ErrorKind::TimedOut,
            FileError::ManyStuck { .. } => io::ErrorKind::ResourceBusy,
        };
        Self::new(kind, error)
    }
}
