use http::Method;

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
    /// `/v2/<name>/blobs/uploads/<session>` (end-5, end-6, end-13, end-14). The spec leaves the
    /// location to the registry; this is where those in use put it.
    Upload,
    /// `/v2/<name>/tags/list` (end-8).
    Tags,
    /// `/v2/<name>/referrers/<digest>` (end-12).
    Referrers,
    /// `/v2/_catalog`, Docker's.
    Catalog,
    /// `/v2/_<extension>/<component>/<module>` or `/v2/<name>/_<extension>/<component>/<module>`
    /// (distribution-spec, "extensions").
    Extension,
    /// Not under `/v2/`: no OCI route at all.
    Outside,
}

/// The kind of a request, as a policy names it.
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
    /// Uses an extension of the registry.
    Extension,
    /// Something outside `/v2/`.
    Other,
}

impl Endpoint {
    /// What a request with `method` does here; `None` where the method is no route.
    pub(super) fn action(self, method: &Method) -> Option<Action> {
        // `Method` has constants and no patterns that would be cheaper.
        let read = method == Method::GET || method == Method::HEAD;
        let action = match self {
            Self::Outside => Action::Other,
            Self::Extension => Action::Extension,
            Self::Base if read => Action::Probe,
            Self::Blob | Self::Manifest | Self::Referrers if read => Action::Pull,
            Self::Tags if read => Action::List,
            Self::Catalog if read => Action::Catalog,
            Self::Manifest if method == Method::PUT => Action::Push,
            Self::Blob | Self::Manifest if method == Method::DELETE => Action::Delete,
            Self::UploadStart if method == Method::POST => Action::Push,
            Self::Upload
                if read
                    || method == Method::PATCH
                    || method == Method::PUT
                    || method == Method::DELETE =>
            {
                Action::Push
            }
            _ => return None,
        };
        Some(action)
    }

    /// Returns the methods that are routes here, as `Allow` lists them (RFC 9110 §10.2.1); `None` where every
    /// method is.
    pub fn allow(self) -> Option<&'static str> {
        match self {
            Self::Base | Self::Tags | Self::Referrers | Self::Catalog => Some("GET, HEAD"),
            Self::Blob => Some("GET, HEAD, DELETE"),
            Self::Manifest => Some("GET, HEAD, PUT, DELETE"),
            Self::UploadStart => Some("POST"),
            Self::Upload => Some("GET, HEAD, PATCH, PUT, DELETE"),
            Self::Extension | Self::Outside => None,
        }
    }

    /// Returns the endpoint as a closed-set label.
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
            Self::Extension => "extension",
            Self::Outside => "outside",
        }
    }
}

impl Action {
    /// Returns the action as a policy writes it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Catalog => "catalog",
            Self::Extension => "extension",
            Self::Other => "other",
        }
    }
}
