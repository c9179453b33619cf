use std::error::Error;

use crate::record::Cut;

/// Why a [`Body`](super::Body) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The wrapped body failed.
    #[error(transparent)]
    Inner(Box<dyn Error + Send + Sync>),
    /// A layer ended the transfer.
    #[error(transparent)]
    Cut(Cut),
}

impl BodyError {
    /// The error of a wrapped body. Around a body of this crate it is that body's own.
    pub(super) fn of(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        match error.into().downcast() {
            Ok(own) => *own,
            Err(other) => Self::Inner(other),
        }
    }
}
