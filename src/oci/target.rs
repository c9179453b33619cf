use super::grammar::{
    NAME_MAX, is_digest, is_extension, is_extension_part, is_name, is_session, is_tag,
};
use super::{Endpoint, RouteError};

/// A path taken apart. What is not there is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) repository: &'a str,
    pub(super) reference: &'a str,
    /// Whether the one slash that some endpoints may end in or not is there.
    pub(super) slash: bool,
}

/// Longer than any route with names and digests of the longest kind.
const PATH_MAX: usize = 2048;

impl<'a> Target<'a> {
    /// Reads a path. From the right, since `manifests`, `blobs`, `tags` and the like may stand in
    /// a name.
    pub(super) fn parse(path: &'a str) -> Result<Self, RouteError> {
        if path.len() > PATH_MAX {
            return Err(RouteError::TooLong);
        }
        let parsed = match path.strip_prefix("/v2") {
            Some("") => Ok(Self::bare(Endpoint::Base, false)),
            Some(rest) => match rest.strip_prefix('/') {
                Some(rest) => Self::under_v2(rest),
                None => Self::outside(path),
            },
            None => Self::outside(path),
        };
        // A part that breaks its grammar because the path is not canonical is reported as that.
        parsed.map_err(|error| {
            if is_canonical(path) {
                error
            } else {
                RouteError::NotCanonical
            }
        })
    }

    fn under_v2(rest: &'a str) -> Result<Self, RouteError> {
        if rest.starts_with('_') {
            return match rest {
                "_catalog" => Ok(Self::bare(Endpoint::Catalog, false)),
                "_catalog/" => Ok(Self::bare(Endpoint::Catalog, true)),
                _ => extension(rest).map(|reference| Self {
                    reference,
                    ..Self::bare(Endpoint::Extension, false)
                }),
            };
        }
        let Some((head, tail)) = rest.rsplit_once('/') else {
            return if rest.is_empty() {
                Ok(Self::bare(Endpoint::Base, true))
            } else {
                Err(RouteError::UnknownEndpoint)
            };
        };
        // At most nine bytes long if it is one: found before a search for one byte has begun.
        let Some(slash) = head.bytes().rposition(|byte| byte == b'/') else {
            return Err(RouteError::UnknownEndpoint);
        };
        let (name, kind) = (&head[..slash], &head[slash + 1..]);
        let route = |endpoint, repository, reference| Self {
            endpoint,
            repository,
            reference,
            slash: true,
        };
        let target = match (kind, tail) {
            ("manifests", reference) => {
                if reference.contains(':') {
                    require(is_digest(reference), RouteError::Digest)?;
                } else {
                    require(is_tag(reference), RouteError::Tag)?;
                }
                route(Endpoint::Manifest, name, reference)
            }
            ("blobs", "uploads") => Self {
                slash: false,
                ..route(Endpoint::UploadStart, name, "")
            },
            ("blobs", digest) => {
                require(is_digest(digest), RouteError::Digest)?;
                route(Endpoint::Blob, name, digest)
            }
            ("referrers", digest) => {
                require(is_digest(digest), RouteError::Digest)?;
                route(Endpoint::Referrers, name, digest)
            }
            ("tags", "list") => route(Endpoint::Tags, name, ""),
            ("uploads", session) if name.ends_with("/blobs") => {
                let name = &name[..name.len() - "/blobs".len()];
                if session.is_empty() {
                    route(Endpoint::UploadStart, name, "")
                } else {
                    require(is_session(session), RouteError::Session)?;
                    route(Endpoint::Upload, name, session)
                }
            }
            _ => {
                let reference = match name.rsplit_once('/') {
                    Some((_, first)) => &rest[name.len() - first.len()..],
                    None => return Err(RouteError::UnknownEndpoint),
                };
                let reference = extension(reference)?;
                let name = &rest[..rest.len() - reference.len() - 1];
                route(Endpoint::Extension, name, reference)
            }
        };
        require(is_name(target.repository), RouteError::Name)?;
        Ok(target)
    }

    /// Parses any canonical path that cannot be read as one under `/v2/`.
    fn outside(path: &'a str) -> Result<Self, RouteError> {
        let first = path
            .strip_prefix('/')
            .and_then(|rest| rest.split('/').next());
        let misspelt = first.is_none_or(|first| first.eq_ignore_ascii_case("v2"));
        require(!misspelt && is_canonical(path), RouteError::NotCanonical)?;
        Ok(Self::bare(Endpoint::Outside, false))
    }

    fn bare(endpoint: Endpoint, slash: bool) -> Self {
        Self {
            endpoint,
            repository: "",
            reference: "",
            slash,
        }
    }
}

fn extension(path: &str) -> Result<&str, RouteError> {
    let mut parts = path.split('/');
    let known = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(extension), Some(component), Some(module), None) => {
            path.len() <= NAME_MAX
                && is_extension(extension)
                && is_extension_part(component)
                && is_extension_part(module)
        }
        _ => false,
    };
    require(known, RouteError::UnknownEndpoint)?;
    Ok(path)
}

/// Whether every reader takes the path as it stands: nothing to decode, no empty or dot segment
/// (but an empty last one), nothing that some servers split at or turn into a slash.
fn is_canonical(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'\\' | b';' | b'#');
    let Some(segments) = path.strip_prefix('/') else {
        return false;
    };
    path.bytes().all(plain)
        && !path.contains("//")
        && !segments
            .split('/')
            .any(|segment| segment == "." || segment == "..")
}

fn require(holds: bool, error: RouteError) -> Result<(), RouteError> {
    if holds { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_exactly_the_greatest_length_is_read() {
        let path = |length: usize| format!("/{}", "a".repeat(length - 1));
        let endpoint = |length| Target::parse(&path(length)).map(|target| target.endpoint);
        assert_eq!(endpoint(PATH_MAX), Ok(Endpoint::Outside));
        assert_eq!(endpoint(PATH_MAX + 1), Err(RouteError::TooLong));
    }

    #[test]
    fn uploads_are_beneath_blobs_only() {
        for (path, endpoint) in [
            ("/v2/a/blobs/uploads/7", Ok(Endpoint::Upload)),
            ("/v2/a/blobs/uploads/", Ok(Endpoint::UploadStart)),
            ("/v2/a/uploads/7", Err(RouteError::UnknownEndpoint)),
            (
                "/v2/library/alpine/uploads/7",
                Err(RouteError::UnknownEndpoint),
            ),
            (
                "/v2/library/alpine/uploads/",
                Err(RouteError::UnknownEndpoint),
            ),
            ("/v2/a/blobs/uploads/a~b", Err(RouteError::Session)),
            ("/v2/a/blobs/uploads/..", Err(RouteError::NotCanonical)),
        ] {
            let parsed = Target::parse(path).map(|target| target.endpoint);
            assert_eq!(parsed, endpoint, "{path}");
        }
    }
}
