use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;

use super::options::HostError;
use crate::store::{Digest, ManifestError, StoreError};

/// Why something could not be had from upstream. `Clone`, for all that wait for one transfer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("the upstream does not have it")]
    Unknown,
    /// Answered to clients as not there: registries answer so for what does not exist, too.
    #[error("the upstream does not let this mirror have it")]
    Refused,
    /// Of the mirror, not of what is asked for: nothing is known about that.
    #[error(
        "the upstream does not accept this mirror's credentials; \
         check MIRROR_UPSTREAM_USERNAME and MIRROR_UPSTREAM_PASSWORD"
    )]
    Credentials,
    /// As that one: what the upstream asks for is not configured.
    #[error(
        "the upstream wants to know who asks, and {0}; \
         see MIRROR_UPSTREAM_USERNAME and MIRROR_UPSTREAM_PASSWORD"
    )]
    Challenge(&'static str),
    /// Either the upstream is, or all places of this mirror are taken.
    #[error("to be tried again in {retry_after} s")]
    Busy {
        status: StatusCode,
        retry_after: u64,
    },
    #[error("the upstream answered {0}")]
    Status(StatusCode),
    #[error("the upstream did not answer in time")]
    Silent,
    #[error("no connection to the upstream was made in time")]
    NotConnected,
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(Arc<str>),
    #[error("the upstream leads to {0}, which cannot be reached")]
    Elsewhere(Arc<str>),
    #[error(
        "the upstream leads to {0}, whose address is not public; \
         if that is right, name it with --upstream-redirect"
    )]
    NotPublic(Arc<str>),
    #[error("the upstream's answer is not usable: {0}")]
    Invalid(&'static str),
    #[error("the upstream's answer is no manifest: {0}")]
    Manifest(#[from] ManifestError),
    #[error("the upstream's content has the digest {actual}, not {expected}")]
    DigestMismatch { expected: Digest, actual: Digest },
    #[error("the transfer from the upstream does not come on")]
    Stalled,
    #[error("no client waits for the blob any more, and much of it is still to come")]
    Unwanted,
    #[error("{0}")]
    Store(Arc<StoreError>),
}

/// Why there can be no upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamSetupError {
    #[error("{url:?} is no http:// or https:// URL of a host without user, query and fragment")]
    Url { url: String },
    #[error(transparent)]
    Host(#[from] HostError),
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
    /// Whether the registry itself says that it does not have it, or not for this mirror. Everything
    /// else leaves open whether it does.
    pub(crate) fn is_verdict(&self) -> bool {
        matches!(self, Self::Unknown | Self::Refused)
    }

    /// Whether a transfer that has begun may go on in a moment. A status is then about the server that
    /// keeps the blob, not about whether the registry has it.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Silent
                | Self::Stalled
                | Self::Status(_)
                | Self::NotConnected
                | Self::Unreachable(_)
                | Self::Elsewhere(_)
        )
    }

    /// One word for it, for a metric.
    #[cfg(feature = "metrics")]
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Credentials | Self::Challenge(_) => "credentials",
            Self::Busy { .. } => "busy",
            Self::Silent | Self::Stalled => "silent",
            Self::NotConnected | Self::Unreachable(_) | Self::Elsewhere(_) => "unreachable",
            Self::NotPublic(_) => "not_public",
            Self::Store(_) | Self::Unwanted => "given_up",
            Self::Status(_)
            | Self::Invalid(_)
            | Self::Manifest(_)
            | Self::DigestMismatch { .. } => "invalid",
        }
    }

    /// For how long the upstream asks to be left alone.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::Busy { retry_after, .. } => Duration::from_secs(*retry_after),
            _ => Duration::ZERO,
        }
    }

    /// Whether it may be the kind of question that was not understood: HEAD, which some registries do
    /// not take or answer by other rules than GET, or a window of a list.
    pub(super) fn is_of_the_question(&self) -> bool {
        match self {
            Self::Unknown
            | Self::Refused
            | Self::Challenge(_)
            | Self::Invalid(_)
            | Self::NotPublic(_) => true,
            Self::Status(status) => {
                status.is_redirection()
                    || status.is_client_error()
                    || *status == StatusCode::NOT_IMPLEMENTED
            }
            _ => false,
        }
    }

    /// Whether it says that a registry has no list of referrers: its answer is that of one that does not
    /// know the path, or leads to where none is.
    pub(super) fn is_no_such_list(&self) -> bool {
        match self {
            Self::Unknown
            | Self::Refused
            | Self::Credentials
            | Self::Challenge(_)
            | Self::NotPublic(_)
            | Self::Elsewhere(_) => true,
            Self::Status(status) => {
                status.is_redirection()
                    || matches!(
                        *status,
                        StatusCode::BAD_REQUEST
                            | StatusCode::UNAUTHORIZED
                            | StatusCode::FORBIDDEN
                            | StatusCode::NOT_FOUND
                            | StatusCode::METHOD_NOT_ALLOWED
                            | StatusCode::NOT_ACCEPTABLE
                            | StatusCode::NOT_IMPLEMENTED
                    )
            }
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
        if error.is_timeout() {
            return if error.is_connect() {
                Self::NotConnected
            } else {
                Self::Silent
            };
        }
        // A redirect's URL may carry a signature.
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            if let Some(not_public) = cause.downcast_ref::<Self>() {
                return not_public.clone();
            }
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Unreachable(text.into())
    }
}
