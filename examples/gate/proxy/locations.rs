//! Where the registry sends its clients.

use http::header::{LINK, LOCATION};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};

use super::problem::Problem;
use super::upstream::{self, Upstream};

/// What the client asked, by which a place on the registry itself is one that it can reach.
pub(super) struct Asked<'a> {
    upstream: &'a Upstream,
    proto: &'a str,
    host: Option<Authority>,
}

/// It could be written with the client's host alone, and that is not known.
struct NoHost;

impl<'a> Asked<'a> {
    pub(super) fn new(upstream: &'a Upstream, proto: &'a str, host: Option<&HeaderValue>) -> Self {
        Self {
            upstream,
            proto,
            host: host.and_then(|host| Authority::try_from(host.as_bytes()).ok()),
        }
    }

    /// Makes a location on the registry itself, and the next page of a list (RFC 8288), one that the client can reach.
    /// One elsewhere, as of a content delivery network, stays.
    ///
    /// # Errors
    /// It cannot be written so.
    pub(super) fn relocate(&self, headers: &mut HeaderMap) -> Result<(), Problem> {
        if let Some(location) = headers.get(LOCATION)
            && let Some(own) = self.own(location.as_bytes())
        {
            let relocated = own.ok().and_then(|own| HeaderValue::try_from(own).ok());
            let relocated = relocated.ok_or_else(|| Problem::Location(location.clone()))?;
            headers.insert(LOCATION, relocated);
        }
        if headers.contains_key(LINK) {
            for (_, links) in headers.iter_mut().filter(|(name, _)| *name == LINK) {
                if let Some(relinked) = self.relink(links) {
                    *links = relinked;
                }
            }
        }
        Ok(())
    }

    /// The links with each target on the registry as the client can reach it.
    fn relink(&self, links: &HeaderValue) -> Option<HeaderValue> {
        let mut rest = links.to_str().ok()?;
        let mut relinked = String::new();
        while let Some((before, target)) = rest.split_once('<') {
            let (target, after) = target.split_once('>')?;
            let own = self.own(target.as_bytes()).and_then(Result::ok);
            relinked.extend([before, "<", own.as_deref().unwrap_or(target), ">"]);
            rest = after;
        }
        relinked.push_str(rest);
        HeaderValue::try_from(relinked).ok()
    }

    /// As the client can reach it, if it is on the registry itself.
    fn own(&self, place: &[u8]) -> Option<Result<String, NoHost>> {
        // `//host/path` has the scheme of what was asked (RFC 3986 §4.2).
        let whole = match place {
            network @ [b'/', b'/', ..] => [&b"http:"[..], network].concat(),
            whole => whole.to_vec(),
        };
        let uri = Uri::try_from(whole).ok()?;
        uri.authority()?;
        let asked = self.host.as_ref();
        let own = asked.is_some_and(|asked| upstream::is_at(&uri, asked));
        if !own && !self.upstream.is_named_by(&uri) {
            return None;
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        // By itself this would be another host.
        if path.starts_with("//") {
            let whole = asked.map(|asked| format!("{}://{asked}{path}", self.proto));
            return Some(whole.ok_or(NoHost));
        }
        Some(Ok(path))
    }
}
