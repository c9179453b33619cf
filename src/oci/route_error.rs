use http::{Method, StatusCode};

use super::{Endpoint, ErrorCode};

/// Why a target under `/v2/` is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Percent-encoding, empty or dot segments, or characters that no name has.
    #[error("the path is not canonical")]
    NotCanonical,
    /// The target is longer than any route.
    #[error("the target is too long")]
    TooLong,
    /// The path ends as no endpoint does.
    #[error("unknown endpoint")]
    UnknownEndpoint,
    /// The endpoint does not take this method.
    #[error("the endpoint does not take this method")]
    Method(Endpoint),
    /// The repository's name is not by the grammar.
    #[error("invalid repository name")]
    Name,
    /// A tag that the request sets is not by the grammar.
    #[error("invalid tag")]
    Tag,
    /// A tag that the request reads or deletes is not by the grammar, so that no manifest has it.
    #[error("invalid tag, which no manifest can have")]
    NoSuchTag,
    /// The upload's session is none that a registry in use makes.
    #[error("invalid upload session")]
    Session,
    /// The digest is not by the grammar.
    #[error("invalid digest")]
    Digest,
    /// A query parameter is repeated, cannot be decoded, or is of another endpoint.
    #[error("invalid query")]
    Query,
    /// The number of results (`?n=`) is none.
    #[error("invalid number of results")]
    Number,
    /// The body is a form, from which registries in Go take parameters before the query's.
    #[error("the body is a form, whose fields could stand for query parameters")]
    Form,
    /// The request has no `Host`, several, or one that names no host (RFC 9112 §3.2).
    #[error("the Host header is missing, repeated or names no host")]
    Host,
    /// The path looks like one under `/v2/` of which the prefix was taken off before it came here.
    #[error("the path looks like one under /v2/ that has lost its prefix")]
    Stripped,
}

impl RouteError {
    /// The error of a path as it is for a request with `method`: what cannot be there is not found, and
    /// what cannot be made is invalid.
    pub(super) fn to(self, method: &Method) -> Self {
        let looks = [Method::GET, Method::HEAD, Method::DELETE].contains(method);
        match self {
            Self::Tag if looks => Self::NoSuchTag,
            error => error,
        }
    }

    /// Returns the status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::UnknownEndpoint | Self::NoSuchTag | Self::Session => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLong => StatusCode::URI_TOO_LONG,
            Self::Form => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Stripped => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotCanonical
            | Self::Host
            | Self::Name
            | Self::Tag
            | Self::Digest
            | Self::Query
            | Self::Number => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns the code of the answer: the distribution-spec's for what is wrong, and `UNSUPPORTED` where it
    /// has none.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NotCanonical | Self::Name => ErrorCode::NameInvalid,
            Self::Tag => ErrorCode::ManifestInvalid,
            Self::NoSuchTag => ErrorCode::ManifestUnknown,
            Self::Digest => ErrorCode::DigestInvalid,
            Self::Session => ErrorCode::BlobUploadUnknown,
            Self::Number => ErrorCode::PaginationNumberInvalid,
            Self::Stripped => ErrorCode::Unavailable,
            Self::TooLong
            | Self::UnknownEndpoint
            | Self::Method(_)
            | Self::Query
            | Self::Form
            | Self::Host => ErrorCode::Unsupported,
        }
    }

    /// Returns the message for the client: what is wrong with its request, and nothing of the registry.
    pub fn message(self) -> &'static str {
        match self {
            Self::NotCanonical => "the path is not canonical",
            Self::TooLong => "the target is too long",
            Self::UnknownEndpoint => "unknown endpoint",
            Self::Tag => "invalid tag",
            Self::Digest => "invalid digest",
            Self::Query => {
                "invalid query: a parameter is repeated, cannot be decoded, or is of another endpoint"
            }
            Self::Form => "the body is a form, whose fields could stand for query parameters",
            Self::Host => "the Host header is missing, repeated or names no host",
            _ => self.code().message(),
        }
    }

    /// Returns the value of the answer's `Allow`, which a 405 must have (RFC 9110 §15.5.6).
    pub fn allow(self) -> Option<&'static str> {
        match self {
            Self::Method(endpoint) => endpoint.allow(),
            _ => None,
        }
    }
}
