use std::fmt;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method, Request, Uri, uri::PathAndQuery};

use super::base_path::{looks_stripped, whole};
use super::host::check_host;
use super::query::{Query, Span};
use super::target::Target;
use super::{Action, Endpoint, ErrorCode, RouteError};

/// A request parsed by the OCI distribution-spec. Its parts are read where the target has them;
/// `Clone` copies none of them. `Display` is the target again, built from the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    target: PathAndQuery,
    endpoint: Endpoint,
    action: Action,
    slash: bool,
    mirrored: bool,
    /// Whether the reference is a tag.
    tagged: bool,
    repository: Span,
    reference: Span,
    query: Option<Query>,
}

/// Longer than any route with ten tags and an upload's state in its query. Below 2^15, which the
/// spans rely on.
const TARGET_MAX: usize = 16 * 1024;

/// What one Spegel peer sends another, so that it does not ask further.
const MIRRORED: HeaderName = HeaderName::from_static("x-spegel-mirrored");

impl Route {
    /// Reads a request's method and target.
    ///
    /// # Errors
    /// Returns what keeps the target from being one canonical route.
    pub fn parse(method: &Method, uri: &Uri) -> Result<Self, RouteError> {
        // CONNECT's authority and OPTIONS' `*` are no paths.
        let target = uri.path_and_query().ok_or(RouteError::NotCanonical)?;
        if target.as_str().len() > TARGET_MAX {
            return Err(RouteError::TooLong);
        }
        // `http://host?query`, whose path is read as `/`: what was sent is not what is read.
        if !target.as_str().starts_with('/') {
            return Err(RouteError::NotCanonical);
        }
        let path = target.path();
        let parsed = Target::parse(path).map_err(|error| error.to(method))?;
        let query = match target.query() {
            Some(_) if parsed.endpoint != Endpoint::Outside => {
                Some(Query::parse(target.as_str(), path.len() + 1)?)
            }
            _ => None,
        };
        let Some(action) = parsed.endpoint.action(method) else {
            return Err(RouteError::Method(parsed.endpoint));
        };
        if let Some(query) = &query {
            query.check(parsed.endpoint, action)?;
        }
        // Names follow `/v2/`, references end the path: their places follow from their lengths.
        let span = |start: usize, length: usize| match (
            u16::try_from(start),
            u16::try_from(start + length),
        ) {
            (Ok(start), Ok(end)) => Span::new(start, end),
            _ => Span::default(),
        };
        Ok(Self {
            endpoint: parsed.endpoint,
            action,
            slash: parsed.slash,
            mirrored: false,
            tagged: parsed.endpoint == Endpoint::Manifest && !parsed.reference.contains(':'),
            repository: span("/v2/".len(), parsed.repository.len()),
            reference: span(path.len() - parsed.reference.len(), parsed.reference.len()),
            query,
            target: target.clone(),
        })
    }

    /// Reads a request's method, target and headers.
    ///
    /// # Errors
    /// Returns the errors of [`Route::parse`], and [`RouteError::Form`].
    pub fn parse_with_headers(
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Self, RouteError> {
        let mut route = Self::parse(method, uri)?;
        route.mirrored = headers
            .get(&MIRRORED)
            .is_some_and(|value| value.as_bytes() == b"true");
        if route.action == Action::Push
            && headers
                .get_all(CONTENT_TYPE)
                .iter()
                .any(|value| is_form(value.as_bytes()))
        {
            return Err(RouteError::Form);
        }
        Ok(route)
    }

    /// Reads what the client of `request` asked for: its target, or more than that inside of a router that has
    /// taken a prefix off ([`guard::Builder::base_path`](crate::guard::Builder::base_path), axum's `OriginalUri`).
    ///
    /// # Errors
    /// As [`Route::parse_with_headers`], [`RouteError::Host`] and [`RouteError::Stripped`].
    pub(crate) fn read<B>(request: &Request<B>) -> Result<Self, RouteError> {
        check_host(request)?;
        Self::read_target(request)
    }

    /// As [`Route::read`], whatever the `Host` is.
    pub(crate) fn read_target<B>(request: &Request<B>) -> Result<Self, RouteError> {
        let whole = whole(request)?;
        let uri = whole.unwrap_or_else(|| request.uri());
        let route = Self::parse_with_headers(request.method(), uri, request.headers())?;
        if route.endpoint == Endpoint::Outside && whole.is_none() && looks_stripped(route.path()) {
            return Err(RouteError::Stripped);
        }
        Ok(route)
    }

    /// Returns the route of `request`: the one in its extensions, else parsed and put there. Inside of a router
    /// that has taken a prefix off it is that of the whole path.
    ///
    /// # Errors
    /// Returns the errors of [`Route::parse_with_headers`], [`RouteError::Host`] and [`RouteError::Stripped`].
    pub fn of<B>(request: &mut Request<B>) -> Result<Self, RouteError> {
        Self::found(request)?;
        let route = request.extensions().get::<Self>();
        // It was put there just now, if it was not there.
        route.cloned().ok_or(RouteError::NotCanonical)
    }

    /// Sees to it that the route of `request` is in its extensions.
    pub(crate) fn found<B>(request: &mut Request<B>) -> Result<(), RouteError> {
        if request.extensions().get::<Self>().is_none() {
            let route = Self::read(request)?;
            request.extensions_mut().insert(route);
        }
        Ok(())
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Returns what the request does.
    pub fn action(&self) -> Action {
        self.action
    }

    /// Returns the path, which is canonical.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// Returns the repository's name, without a host.
    pub fn repository(&self) -> Option<&str> {
        self.repository.of(self.target.path())
    }

    /// Returns the tag, digest, upload session or extension at the end of the path.
    pub fn reference(&self) -> Option<&str> {
        self.reference.of(self.target.path())
    }

    /// Returns the tag at the end of a manifest's path.
    pub fn tag(&self) -> Option<&str> {
        self.reference().filter(|_| self.tagged)
    }

    /// Returns the digest of what the path names: a blob, a manifest, or the subject of referrers.
    pub fn digest(&self) -> Option<&str> {
        let named = match self.endpoint {
            Endpoint::Blob | Endpoint::Referrers => true,
            Endpoint::Manifest => !self.tagged,
            _ => false,
        };
        self.reference().filter(|_| named)
    }

    /// Returns the upstream registry that containerd's `?ns=` names.
    pub fn registry(&self) -> Option<&str> {
        self.value(|query| query.registry)
    }

    /// Returns the digest of the blob that a mount asks for (`?mount=…`).
    pub fn mount(&self) -> Option<&str> {
        self.value(|query| query.mount)
    }

    /// Returns the second repository that a mount reads from (`?mount=…&from=…`).
    pub fn mount_from(&self) -> Option<&str> {
        self.value(|query| query.from)
    }

    /// Returns the digest of the blob that an upload is or becomes (`?digest=…`).
    pub fn upload_digest(&self) -> Option<&str> {
        self.value(|query| query.digest)
    }

    /// Returns the tags that a manifest's push by digest sets (`?tag=a&tag=b`).
    pub fn query_tags(&self) -> impl Iterator<Item = &str> {
        let target = self.target.as_str();
        self.query.iter().flat_map(move |query| {
            let tags = query.tags().iter();
            tags.filter_map(move |tag| query.value(target, *tag))
        })
    }

    /// Returns every tag that the request names, in the path and in the query.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tag().into_iter().chain(self.query_tags())
    }

    /// Returns whether a Spegel peer passed the request on (`X-Spegel-Mirrored: true`). Any client can send
    /// that header, so nothing may be granted for it. False after [`Route::parse`], which sees no headers.
    pub fn is_mirrored(&self) -> bool {
        self.mirrored
    }

    /// Returns the code with which a registry answers where the requested thing is not there.
    pub fn unknown_code(&self) -> ErrorCode {
        match self.endpoint {
            Endpoint::Manifest => ErrorCode::ManifestUnknown,
            Endpoint::Blob => ErrorCode::BlobUnknown,
            Endpoint::Upload => ErrorCode::BlobUploadUnknown,
            _ => ErrorCode::NameUnknown,
        }
    }

    fn value(&self, span: fn(&Query) -> Span) -> Option<&str> {
        let query = self.query.as_ref()?;
        query.value(self.target.as_str(), span(query))
    }
}

fn is_form(content_type: &[u8]) -> bool {
    let starts = |prefix: &[u8]| {
        let text = content_type.trim_ascii_start();
        text.get(..prefix.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
    };
    starts(b"application/x-www-form-urlencoded") || starts(b"multipart/")
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repository = self.repository().unwrap_or_default();
        let reference = self.reference().unwrap_or_default();
        let slash = if self.slash { "/" } else { "" };
        match self.endpoint {
            Endpoint::Base => write!(f, "/v2{slash}")?,
            Endpoint::Catalog => write!(f, "/v2/_catalog{slash}")?,
            Endpoint::Blob => write!(f, "/v2/{repository}/blobs/{reference}")?,
            Endpoint::Manifest => write!(f, "/v2/{repository}/manifests/{reference}")?,
            Endpoint::UploadStart => write!(f, "/v2/{repository}/blobs/uploads{slash}")?,
            Endpoint::Upload => write!(f, "/v2/{repository}/blobs/uploads/{reference}")?,
            Endpoint::Tags => write!(f, "/v2/{repository}/tags/list")?,
            Endpoint::Referrers => write!(f, "/v2/{repository}/referrers/{reference}")?,
            Endpoint::Extension if repository.is_empty() => write!(f, "/v2/{reference}")?,
            Endpoint::Extension => write!(f, "/v2/{repository}/{reference}")?,
            Endpoint::Outside => f.write_str(self.target.path())?,
        }
        match self.target.query() {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}
