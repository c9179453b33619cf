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
    /// `BLOB_UNKNOWN`
    BlobUnknown,
    /// `DIGEST_INVALID`
    DigestInvalid,
    /// `UNSUPPORTED`
    Unsupported,
    /// `TOOMANYREQUESTS`
    TooManyRequests,
    /// `UNAVAILABLE`, not in the spec's list but in distribution, containerd and
    /// go-containerregistry.
    Unavailable,
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
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
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
            Self::BlobUnknown => "blob unknown to registry",
            Self::DigestInvalid => "provided digest did not match uploaded content",
            Self::Unsupported => "the operation is unsupported",
            Self::TooManyRequests => "too many requests",
            Self::Unavailable => "service unavailable",
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
