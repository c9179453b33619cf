use std::sync::Arc;

use axum::http::StatusCode;

use crate::store::{Digest, StoreError};

/// Why something could not be had from upstream. `Clone`, for all that wait for one transfer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("the upstream does not have it")]
    Unknown,
    /// Told to clients as not there: registries answer so for what does not exist, too.
    #[error("the upstream does not let this mirror have it")]
    Refused,
    #[error("the upstream asks to come again in {retry_after} s")]
    Busy { retry_after: u64 },
    #[error("the upstream answered {0}")]
    Status(StatusCode),
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(Arc<str>),
    #[error("the upstream's answer is not usable: {0}")]
    Invalid(&'static str),
    #[error("the upstream's content has the digest {actual}, not {expected}")]
    DigestMismatch { expected: Digest, actual: Digest },
    #[error("{0}")]
    Store(Arc<StoreError>),
}

/// Why there can be no upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamSetupError {
    #[error("{url:?} is no http:// or https:// URL of a host without user, query and fragment")]
    Url { url: String },
    #[error(transparent)]
    Ca(#[from] portcullis::tls::TlsError),
    #[error("{path} holds no usable certificate: {source}")]
    Certificate {
        path: String,
        source: reqwest::Error,
    },
    #[error("of MIRROR_UPSTREAM_USERNAME and MIRROR_UPSTREAM_PASSWORD only one is set")]
    HalfCredentials,
    #[error("{name} is not UTF-8")]
    NotUnicode { name: &'static str },
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[source] reqwest::Error),
}

impl UpstreamError {
    /// Whether the upstream may well have it and only cannot say so now.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Unreachable(_) => true,
            Self::Status(status) => status.is_server_error(),
            _ => false,
        }
    }
}

impl From<StoreError> for UpstreamError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DigestMismatch { expected, actual } => {
                Self::DigestMismatch { expected, actual }
            }
            error => Self::Store(Arc::new(error)),
        }
    }
}

impl From<reqwest::Error> for UpstreamError {
    fn from(error: reqwest::Error) -> Self {
        // A redirect's URL may carry a signature.
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Unreachable(text.into())
    }
}
