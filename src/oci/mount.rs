use http::uri::PathAndQuery;
use http::{Request, Uri};

use super::base_path::amend;
use super::{Route, RouteError};

impl Route {
    /// Whether the request asks for a blob of another repository: by its digest, or, as what is left of
    /// that, by the repository alone.
    #[cfg(any(feature = "policy", test))]
    pub(crate) fn asks_for_mount(&self) -> bool {
        self.mount().is_some() || self.mount_from().is_some()
    }

    /// Takes the mount off `request`, so that it is an ordinary upload, as the distribution-spec has it
    /// for a mount that cannot be done ("Mounting a blob from another repository"). Its route is read
    /// again from what is left.
    ///
    /// # Errors
    /// What is left is no route.
    pub(crate) fn decline_mount<B>(request: &mut Request<B>) -> Result<(), RouteError> {
        amend(request, without_mount)?;
        request.extensions_mut().remove::<Self>();
        Self::found(request)
    }
}

/// `uri` without the parameters of a mount. What else is in the query stays as it stands. So does
/// `digest`, which is an upload's: a route that has it beside `mount` is none.
fn without_mount(uri: &Uri) -> Option<Uri> {
    let target = uri.path_and_query()?;
    let pairs = target.query().unwrap_or_default().split('&');
    let others = pairs.filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !matches!(name, "" | "mount" | "from")
    });
    let others: Vec<&str> = others.collect();
    let path = target.path();
    let rest = if others.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", others.join("&"))
    };
    let mut parts = uri.clone().into_parts();
    // A part of what was one, so it is one.
    parts.path_and_query = Some(rest.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn what_is_no_part_of_a_mount_stays_as_it_stands() {
        let path = "/v2/a/blobs/uploads/";
        for (query, left) in [
            ("mount=$D&from=b", ""),
            ("from=b&mount=$D", ""),
            ("mount=$D", ""),
            ("from=b", ""),
            ("&&mount=$D&from=b&", ""),
            ("x=1&mount=$D&from=b&y=2", "?x=1&y=2"),
            ("from=b&digest=$D", "?digest=$D"),
            ("mount=$D&from=b&ns=docker.io", "?ns=docker.io"),
            (
                "mount=$D&digest-algorithm=sha512",
                "?digest-algorithm=sha512",
            ),
            ("mount=$D&x=from%3Db%26mount", "?x=from%3Db%26mount"),
            ("mounted=$D&fromage=b&mount=$D", "?mounted=$D&fromage=b"),
            ("", ""),
        ] {
            let target = format!("{path}?{query}").replace("$D", DIGEST);
            let wanted = format!("{path}{left}").replace("$D", DIGEST);
            assert_eq!(
                without_mount(&target.parse().unwrap()).unwrap(),
                wanted.as_str()
            );
            let absolute = format!("https://registry.example:5000{target}");
            let wanted = format!("https://registry.example:5000{wanted}");
            assert_eq!(
                without_mount(&absolute.parse().unwrap()).unwrap(),
                wanted.as_str()
            );
        }
        assert_eq!(without_mount(&"*".parse().unwrap()).unwrap(), "*");
    }

    #[test]
    fn a_declined_mount_leaves_a_route_that_is_none_of_it() {
        let target = format!("/v2/a/blobs/uploads/?mount={DIGEST}&from=b&ns=docker.io");
        let mut request = Request::post(target)
            .header("host", "registry.example")
            .body(())
            .unwrap();
        assert!(Route::of(&mut request).unwrap().asks_for_mount());
        Route::decline_mount(&mut request).unwrap();
        let again = Route::parse_with_headers(&Method::POST, request.uri(), &HeaderMap::new());
        let route = Route::of(&mut request).unwrap();
        assert_eq!(Ok(&route), again.as_ref());
        assert!(!route.asks_for_mount());
        assert_eq!(route.registry(), Some("docker.io"));
        assert_eq!(request.uri(), "/v2/a/blobs/uploads/?ns=docker.io");
    }
}
