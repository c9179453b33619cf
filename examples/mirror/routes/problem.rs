use axum::http::header::{ALLOW, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use portcullis::oci::RouteError;
use serde_json::json;

use crate::store::{DigestError, ManifestError, StoreError};
use crate::upstream::UpstreamError;

/// Why a request is not answered with what it asks for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("there is nothing here; the registry is under /v2/")]
    NotFound,
    #[error("invalid query: {0}")]
    QueryInvalid(&'static str),
    #[error("invalid number of results requested")]
    PageInvalid,
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error("a digest is needed: ?digest=<algorithm>:<hex>")]
    DigestMissing,
    #[error("Content-Range is not <first>-<last>")]
    ContentRangeInvalid,
    #[error("the next byte to send is {offset}")]
    OutOfOrder { location: String, offset: u64 },
    #[error("the body ended early")]
    BodyCut,
    #[error("the body is not as long as its Content-Range")]
    SizeInvalid,
    #[error("the manifest is invalid: {0}")]
    ManifestInvalid(#[from] ManifestError),
    #[error("the manifest's Content-Type is not {0}, which is what it is")]
    ManifestType(String),
    #[error("the manifest refers to blobs that this repository does not have")]
    ManifestBlobUnknown(Vec<String>),
    #[error("the manifest comes with more than {0} tags")]
    TooManyTags(usize),
    #[error("the blob has {length} bytes")]
    RangeNotSatisfiable { length: u64 },
    #[error("this is no mirror of that registry")]
    Namespace {
        /// The code that says that what is asked for is not there.
        unknown: &'static str,
    },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{error}")]
    Upstream {
        error: UpstreamError,
        /// The code that says that what is asked for is not there.
        unknown: &'static str,
    },
}

impl Problem {
    fn status(&self) -> StatusCode {
        match self {
            Self::Route(error) => error.status(),
            Self::NotFound | Self::Namespace { .. } => StatusCode::NOT_FOUND,
            Self::OutOfOrder { .. } | Self::RangeNotSatisfiable { .. } => {
                StatusCode::RANGE_NOT_SATISFIABLE
            }
            Self::ManifestInvalid(ManifestError::TooLong) => StatusCode::PAYLOAD_TOO_LARGE,
            // distribution-spec, "Pushing Manifests".
            Self::TooManyTags(_) => StatusCode::URI_TOO_LONG,
            Self::Store(error) => status(error),
            Self::Upstream { error, .. } => match error {
                UpstreamError::Unknown | UpstreamError::Refused => StatusCode::NOT_FOUND,
                UpstreamError::Busy { status, .. } => *status,
                UpstreamError::Store(error) => status(error),
                _ => StatusCode::BAD_GATEWAY,
            },
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// distribution-spec, "Error Codes"; `UNAVAILABLE` and `UNKNOWN` are not in its list, but in
    /// distribution, containerd and go-containerregistry.
    fn code(&self) -> &'static str {
        match self {
            Self::Route(error) => error.code().as_str(),
            Self::Namespace { unknown } => unknown,
            Self::NotFound
            | Self::QueryInvalid(_)
            | Self::TooManyTags(_)
            | Self::Store(StoreError::ConditionFailed) => "UNSUPPORTED",
            // distribution's; the spec has none for it.
            Self::PageInvalid => "PAGINATION_NUMBER_INVALID",
            Self::Digest(_)
            | Self::DigestMissing
            | Self::Store(StoreError::DigestMismatch { .. }) => "DIGEST_INVALID",
            Self::ContentRangeInvalid
            | Self::OutOfOrder { .. }
            | Self::BodyCut
            | Self::RangeNotSatisfiable { .. }
            | Self::Store(StoreError::UploadBusy) => "BLOB_UPLOAD_INVALID",
            Self::SizeInvalid | Self::ManifestInvalid(ManifestError::TooLong) => "SIZE_INVALID",
            Self::ManifestInvalid(_) | Self::ManifestType(_) => "MANIFEST_INVALID",
            Self::ManifestBlobUnknown(_) => "MANIFEST_BLOB_UNKNOWN",
            Self::Store(StoreError::RepositoryUnknown) => "NAME_UNKNOWN",
            Self::Store(StoreError::BlobUnknown) => "BLOB_UNKNOWN",
            Self::Store(StoreError::ManifestUnknown) => "MANIFEST_UNKNOWN",
            Self::Store(StoreError::UploadUnknown) => "BLOB_UPLOAD_UNKNOWN",
            Self::Store(StoreError::CallerBusy) => "TOOMANYREQUESTS",
            Self::Store(StoreError::Stopping | StoreError::Full(_)) => "UNAVAILABLE",
            Self::Store(_) => "UNKNOWN",
            Self::Upstream { unknown, .. } => match self.status() {
                StatusCode::NOT_FOUND => unknown,
                StatusCode::INTERNAL_SERVER_ERROR => "UNKNOWN",
                StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
                _ => "UNAVAILABLE",
            },
        }
    }

    /// The message for the client. The inner workings are for the log.
    fn message(&self) -> String {
        match self.status() {
            StatusCode::INTERNAL_SERVER_ERROR => "internal error".to_owned(),
            StatusCode::INSUFFICIENT_STORAGE => "no space is left".to_owned(),
            StatusCode::BAD_GATEWAY => "the upstream registry failed".to_owned(),
            _ => self.to_string(),
        }
    }
}

fn status(error: &StoreError) -> StatusCode {
    match error {
        StoreError::RepositoryUnknown
        | StoreError::BlobUnknown
        | StoreError::ManifestUnknown
        | StoreError::UploadUnknown => StatusCode::NOT_FOUND,
        StoreError::UploadBusy => StatusCode::CONFLICT,
        StoreError::ConditionFailed => StatusCode::PRECONDITION_FAILED,
        StoreError::DigestMismatch { .. } => StatusCode::BAD_REQUEST,
        StoreError::CallerBusy => StatusCode::TOO_MANY_REQUESTS,
        StoreError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
        StoreError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        // A full disk is logged once, by the store.
        if status.is_server_error() && status != StatusCode::INSUFFICIENT_STORAGE {
            tracing::error!(problem = %self, "a request failed");
        }
        let code = self.code();
        let message = self.message();
        let errors: Vec<_> = match &self {
            Self::ManifestBlobUnknown(digests) => digests
                .iter()
                .map(|digest| json!({"code": code, "message": message, "detail": {"digest": digest}}))
                .collect(),
            _ => vec![json!({"code": code, "message": message})],
        };
        let mut response = (status, axum::Json(json!({"errors": errors}))).into_response();
        let headers = response.headers_mut();
        let mut set = |name, value: String| {
            // Made of digits, names and punctuation.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        match self {
            Self::OutOfOrder { location, offset } => {
                set(LOCATION, location);
                set(RANGE, super::uploads::range(offset));
            }
            Self::Route(error) => {
                if let Some(methods) = error.allow() {
                    set(ALLOW, methods.to_owned());
                }
            }
            Self::RangeNotSatisfiable { length } => set(CONTENT_RANGE, format!("bytes */{length}")),
            Self::Upstream {
                error: UpstreamError::Busy { retry_after, .. },
                ..
            } => set(RETRY_AFTER, retry_after.max(1).to_string()),
            Self::Store(StoreError::CallerBusy) => set(RETRY_AFTER, "1".to_owned()),
            _ => {}
        }
        response
    }
}
