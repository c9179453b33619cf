#[cfg(feature = "axum")]
use axum::extract::OriginalUri;
use http::uri::PathAndQuery;
use http::{Request, Uri};

use super::RouteError;

/// What a router takes off the paths of requests before they come to a layer: `/v2` inside of
/// `nest("/v2", …)`. Where none is set, a path is read as it is, or, with the feature `axum`, as axum's
/// `OriginalUri` has it if that is under `/v2/`; and a path that looks as if `/v2` had been taken off is
/// refused.
///
/// `/` says that nothing is taken off: then each path is read as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BasePath(Box<str>);

/// What the client asked for, where the request's own URI has lost its beginning. `None` where the two make no URI.
#[derive(Clone, Debug)]
struct Asked(Option<Uri>);

impl BasePath {
    /// Takes a path with or without a slash at its end.
    pub(crate) fn new(path: &str) -> Self {
        let path = path.trim_matches('/');
        Self(match path {
            "" => Box::default(),
            path => format!("/{path}").into(),
        })
    }

    /// Notes in the request what its client asked for. A layer outside may have done so before.
    pub(crate) fn apply<B>(base: Option<&Self>, request: &mut Request<B>) {
        let Some(Self(base)) = base else {
            return;
        };
        if request.extensions().get::<Asked>().is_none() {
            let asked = Asked(joined(base, request.uri()));
            request.extensions_mut().insert(asked);
        }
    }
}

/// What the client of `request` asked for.
#[inline]
pub(crate) fn asked<B>(request: &Request<B>) -> &Uri {
    whole(request)
        .ok()
        .flatten()
        .unwrap_or_else(|| request.uri())
}

/// What the client asked for, if the request's own URI is not known to be that.
///
/// # Errors
/// The base path that was set and the request's own path make no path.
pub(super) fn whole<B>(request: &Request<B>) -> Result<Option<&Uri>, RouteError> {
    if let Some(Asked(asked)) = request.extensions().get() {
        return asked.as_ref().map(Some).ok_or(RouteError::NotCanonical);
    }
    #[cfg(feature = "axum")]
    if let Some(OriginalUri(original)) = request.extensions().get()
        && is_rest_of(request.uri(), original)
    {
        return Ok(Some(original));
    }
    Ok(None)
}

/// Changes what the client asked for wherever that is kept, the request's own URI too.
#[cfg(any(feature = "policy", feature = "jwt"))]
pub(super) fn amend<B>(
    request: &mut Request<B>,
    change: impl Fn(&Uri) -> Option<Uri>,
) -> Result<(), RouteError> {
    let changed = |uri: &Uri| change(uri).ok_or(RouteError::NotCanonical);
    let own = changed(request.uri())?;
    *request.uri_mut() = own;
    if let Some(Asked(Some(asked))) = request.extensions_mut().get_mut() {
        *asked = changed(asked)?;
    }
    #[cfg(feature = "axum")]
    if let Some(OriginalUri(original)) = request.extensions_mut().get_mut() {
        *original = changed(original)?;
    }
    Ok(())
}

/// Whether `rest` is what a router left of `whole`, which is under `/v2/`. A path that was rewritten in another way
/// is what the service will read, so it is read here too.
#[cfg(feature = "axum")]
fn is_rest_of(rest: &Uri, whole: &Uri) -> bool {
    let (rest_path, path) = (rest.path(), whole.path());
    let under_v2 = path.strip_prefix("/v2");
    under_v2.is_some_and(|after| after.is_empty() || after.starts_with('/'))
        && rest_path != path
        && rest.query() == whole.query()
        // All of a path that is taken off leaves a slash.
        && (path.ends_with(rest_path) || rest_path == "/")
}

fn joined(base: &str, own: &Uri) -> Option<Uri> {
    let target = own.path_and_query()?.as_str();
    if !target.starts_with('/') {
        return None;
    }
    let mut parts = own.clone().into_parts();
    parts.path_and_query = Some(format!("{base}{target}").parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether a path outside `/v2/` looks like a route that has lost its `/v2`. By its form alone: a name or reference
/// that breaks its grammar must not pass as a path of something else.
pub(super) fn looks_stripped(path: &str) -> bool {
    let mut segments = path.trim_start_matches('/').rsplit('/');
    let (last, before, third) = (segments.next(), segments.next(), segments.next());
    let named = third.is_some();
    match (before, last) {
        (None, Some("_catalog")) | (Some("_catalog"), Some("")) => third.is_none(),
        (Some("manifests"), Some(reference)) => named && !reference.is_empty(),
        (Some("blobs"), Some("uploads")) | (Some("tags"), Some("list")) => named,
        (Some("blobs" | "referrers"), Some(digest)) => named && digest.contains(':'),
        (Some("uploads"), Some(_)) => third == Some("blobs") && segments.next().is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_base_path_makes_of_a_path_is_what_was_asked_for() {
        for (base, own, whole) in [
            ("/v2", "/a/manifests/1", "/v2/a/manifests/1"),
            ("v2/", "/a/manifests/1?ns=x", "/v2/a/manifests/1?ns=x"),
            ("/v2/", "/", "/v2/"),
            (
                "/v2/library",
                "/alpine/tags/list",
                "/v2/library/alpine/tags/list",
            ),
            ("/", "/a/manifests/1", "/a/manifests/1"),
            ("", "/v2/", "/v2/"),
        ] {
            let mut request = Request::get(own).body(()).unwrap();
            BasePath::apply(Some(&BasePath::new(base)), &mut request);
            assert_eq!(asked(&request), whole, "{base} {own}");
            // The one outside knows more.
            BasePath::apply(Some(&BasePath::new("/other")), &mut request);
            assert_eq!(asked(&request), whole, "{base} {own}");
        }
    }

    #[test]
    fn a_base_path_that_makes_no_path_is_an_error() {
        let mut request = Request::get("/a").body(()).unwrap();
        BasePath::apply(Some(&BasePath::new("/v2 x")), &mut request);
        assert_eq!(whole(&request), Err(RouteError::NotCanonical));
        let mut request = Request::options("*").body(()).unwrap();
        BasePath::apply(Some(&BasePath::new("/v2")), &mut request);
        assert_eq!(whole(&request), Err(RouteError::NotCanonical));
    }

    #[test]
    fn a_path_that_has_lost_its_prefix_is_known_by_its_form() {
        let digest = "sha256:0123";
        for path in [
            "/a/manifests/1",
            "/a/b/manifests/sha256:0",
            "/A%2f/manifests/1",
            "/a/blobs/$D",
            "/a/blobs/uploads",
            "/a/blobs/uploads/",
            "/a/blobs/uploads/7",
            "/a/tags/list",
            "/a/referrers/$D",
            "/_catalog",
            "/_catalog/",
        ] {
            assert!(looks_stripped(&path.replace("$D", digest)), "{path}");
        }
        for path in [
            "/",
            "/metrics",
            "/blobs/style.css",
            "/assets/blobs/style.css",
            "/a/manifests/",
            "/manifests/1",
            "/tags/list",
            "/a/uploads/7",
            "/x/a/uploads/7",
            "/blobs/uploads/7",
            "/a/_catalog",
            "/a/referrers/x",
            "/healthz/",
        ] {
            assert!(!looks_stripped(path), "{path}");
        }
    }

    #[cfg(feature = "axum")]
    #[test]
    fn the_original_uri_counts_where_the_path_is_what_was_left_of_it() {
        for (original, own, read) in [
            ("/v2/a/manifests/1", "/a/manifests/1", "/v2/a/manifests/1"),
            (
                "/v2/v2/a/manifests/1",
                "/v2/a/manifests/1",
                "/v2/v2/a/manifests/1",
            ),
            ("/v2", "/", "/v2"),
            ("/v2/?n=1", "/?n=1", "/v2/?n=1"),
            // Nested elsewhere: the path as it is left is the route.
            (
                "/mirror/v2/a/manifests/1",
                "/v2/a/manifests/1",
                "/v2/a/manifests/1",
            ),
            ("/mirror/v2/a/tags/list", "/a/tags/list", "/a/tags/list"),
            // Rewritten.
            (
                "/v2/a/manifests/1",
                "/v2/b/manifests/1",
                "/v2/b/manifests/1",
            ),
            (
                "/v2/a/manifests/1",
                "/a/manifests/1?ns=b",
                "/a/manifests/1?ns=b",
            ),
            ("/v20/a/manifests/1", "/a/manifests/1", "/a/manifests/1"),
        ] {
            let mut request = Request::get(own).body(()).unwrap();
            let original = OriginalUri(original.parse().unwrap());
            request.extensions_mut().insert(original);
            assert_eq!(asked(&request), read, "{own}");
        }
    }
}
