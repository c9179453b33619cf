use std::fmt;

use crate::audit::Cut;

/// Why a [`Body`](super::Body) failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError<E> {
    /// The wrapped body failed.
    Inner(E),
    /// A layer ended the transfer.
    Cut(Cut),
}

impl<E: fmt::Display> fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Cut(cut) => cut.fmt(f),
        }
    }
}

// Without `E: Error`, because the error of many bodies is a `Box<dyn Error>`, which is none.
impl<E: fmt::Debug + fmt::Display> std::error::Error for BodyError<E> {}
