use bytes::Bytes;

/// The error codes of the OCI distribution-spec and of the registries in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `UNAUTHORIZED`
    Unauthorized,
    /// `DENIED`
    Denied,
    /// `NAME_INVALID`
    NameInvalid,
    /// `NAME_UNKNOWN`
    NameUnknown,
    /// `MANIFEST_UNKNOWN`
    ManifestUnknown,
    /// `MANIFEST_INVALID`
    ManifestInvalid,
    /// `BLOB_UNKNOWN`
    BlobUnknown,
    /// `BLOB_UPLOAD_UNKNOWN`
    BlobUploadUnknown,
    /// `DIGEST_INVALID`
    DigestInvalid,
    /// `PAGINATION_NUMBER_INVALID`, not in the spec's list but in distribution.
    PaginationNumberInvalid,
    /// `UNSUPPORTED`
    Unsupported,
    /// `TOOMANYREQUESTS`
    TooManyRequests,
    /// `UNAVAILABLE`, not in the spec's list but in distribution, containerd and
    /// go-containerregistry.
    Unavailable,
    /// `UNKNOWN`, not in the spec's list but in distribution: the registry failed.
    Unknown,
}

impl ErrorCode {
    /// The code as it stands in the body.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::PaginationNumberInvalid => "PAGINATION_NUMBER_INVALID",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The message of the distribution-spec for this code.
    pub fn message(self) -> &'static str {
        match self {
            Self::Unauthorized => "authentication required",
            Self::Denied => "requested access to the resource is denied",
            Self::NameInvalid => "invalid repository name",
            Self::NameUnknown => "repository name not known to registry",
            Self::ManifestUnknown => "manifest unknown to registry",
            Self::ManifestInvalid => "manifest invalid",
            Self::BlobUnknown => "blob unknown to registry",
            Self::BlobUploadUnknown => "blob upload unknown to registry",
            Self::DigestInvalid => "provided digest did not match uploaded content",
            Self::PaginationNumberInvalid => "invalid number of results requested",
            Self::Unsupported => "the operation is unsupported",
            Self::TooManyRequests => "too many requests",
            Self::Unavailable => "service unavailable",
            Self::Unknown => "unknown error",
        }
    }
}

/// `{"errors":[{"code":…,"message":…}]}`. Both texts are this crate's own, so none needs escaping.
pub fn error_body(code: ErrorCode, message: &'static str) -> Bytes {
    let code = code.as_str();
    Bytes::from(format!(
        "{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{message}\"}}]}}"
    ))
}
