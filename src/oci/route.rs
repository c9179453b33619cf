use http::{Method, Request, StatusCode, Uri, uri::PathAndQuery};

use super::ErrorCode;

/// A request parsed by the OCI distribution-spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    target: PathAndQuery,
    endpoint: Endpoint,
    action: Action,
    repository: (u16, u16),
    reference: (u16, u16),
    registry: Option<Box<str>>,
    mount_from: Option<Box<str>>,
    tags: Vec<Box<str>>,
}

/// The endpoints of the distribution-spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `/v2/` (end-1).
    Base,
    /// `/v2/<name>/blobs/<digest>` (end-2, end-10).
    Blob,
    /// `/v2/<name>/manifests/<reference>` (end-3, end-7, end-9).
    Manifest,
    /// `/v2/<name>/blobs/uploads/` (end-4, end-11).
    UploadStart,
    /// `/v2/<name>/blobs/uploads/<session>` (end-5, end-6, end-13, end-14).
    Upload,
    /// `/v2/<name>/tags/list` (end-8).
    Tags,
    /// `/v2/<name>/referrers/<digest>` (end-12).
    Referrers,
    /// `/v2/_catalog`, Docker's.
    Catalog,
    /// Not under `/v2/`: no OCI route at all.
    Outside,
}

/// What a request does, as a policy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// Asks for the API itself (`/v2/`).
    Probe,
    /// Reads a manifest or blob, or a manifest's referrers.
    Pull,
    /// Writes a manifest or blob.
    Push,
    /// Deletes a manifest, tag or blob.
    Delete,
    /// Lists the tags of a repository.
    List,
    /// Lists the repositories.
    Catalog,
    /// Something outside `/v2/`.
    Other,
}

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
    Method,
    /// The repository's name is not by the grammar.
    #[error("invalid repository name")]
    Name,
    /// The tag is not by the grammar.
    #[error("invalid tag")]
    Tag,
    /// The digest is not by the grammar.
    #[error("invalid digest")]
    Digest,
    /// A query parameter is repeated or cannot be decoded.
    #[error("invalid query")]
    Query,
}

impl Route {
    /// Reads a request's method and target.
    ///
    /// # Errors
    /// What keeps a target under `/v2/` from being one canonical route.
    pub fn parse(_method: &Method, _uri: &Uri) -> Result<Self, RouteError> {
        Err(RouteError::UnknownEndpoint)
    }

    /// The route of `request`: the one in its extensions, else parsed and put there.
    ///
    /// # Errors
    /// As [`Route::parse`].
    pub fn of<B>(request: &mut Request<B>) -> Result<Self, RouteError> {
        if let Some(route) = request.extensions().get::<Self>() {
            return Ok(route.clone());
        }
        let route = Self::parse(request.method(), request.uri())?;
        request.extensions_mut().insert(route.clone());
        Ok(route)
    }

    /// The endpoint.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// What the request does.
    pub fn action(&self) -> Action {
        self.action
    }

    /// The repository's name, without a host.
    pub fn repository(&self) -> Option<&str> {
        self.part(self.repository)
    }

    /// The tag, digest or upload session at the end of the path.
    pub fn reference(&self) -> Option<&str> {
        self.part(self.reference)
    }

    /// The upstream registry that containerd's `?ns=` names.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// The second repository that a mount reads from (`?mount=…&from=…`).
    pub fn mount_from(&self) -> Option<&str> {
        self.mount_from.as_deref()
    }

    /// The tags that a manifest's push by digest sets (`?tag=a&tag=b`).
    pub fn query_tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(AsRef::as_ref)
    }

    /// The code with which a registry says that what is asked for is not there.
    pub fn unknown_code(&self) -> ErrorCode {
        match self.endpoint {
            Endpoint::Manifest => ErrorCode::ManifestUnknown,
            Endpoint::Blob => ErrorCode::BlobUnknown,
            _ => ErrorCode::NameUnknown,
        }
    }

    fn part(&self, (start, end): (u16, u16)) -> Option<&str> {
        let text = &self.target.path()[usize::from(start)..usize::from(end)];
        (!text.is_empty()).then_some(text)
    }
}

impl Endpoint {
    /// The endpoint as a closed-set label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Blob => "blob",
            Self::Manifest => "manifest",
            Self::UploadStart => "upload_start",
            Self::Upload => "upload",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::Catalog => "catalog",
            Self::Outside => "outside",
        }
    }
}

impl Action {
    /// The action as it is written in a policy.
    pub fn label(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Catalog => "catalog",
            Self::Other => "other",
        }
    }
}

impl RouteError {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::UnknownEndpoint => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The code of the answer.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Digest => ErrorCode::DigestInvalid,
            Self::UnknownEndpoint | Self::Method => ErrorCode::Unsupported,
            _ => ErrorCode::NameInvalid,
        }
    }
}
