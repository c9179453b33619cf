use std::fmt;

use super::{Action, Route};

/// What a bearer token must grant for a request, as the distribution token specification writes it:
/// `repository:library/alpine:pull`. Of a mirror's request for another registry the name begins with
/// that registry: `repository:docker.io/library/alpine:pull`. A registry that could be the first part of a
/// name here too has an empty port (RFC 3986 §3.2.3): `repository:cache:/alpine:pull`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// `repository` or `registry`.
    pub(crate) kind: &'static str,
    /// The repository's name, or `catalog`.
    pub(crate) name: String,
    /// The actions, of which each is needed.
    pub(crate) actions: &'static [&'static str],
}

impl Route {
    /// Returns what a bearer token must grant for this request; nothing for `/v2/` itself and for targets
    /// outside it.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        let actions: &[&str] = match self.action() {
            Action::Probe | Action::Other => return Vec::new(),
            Action::Pull | Action::List => &["pull"],
            Action::Push => &["pull", "push"],
            Action::Delete => &["delete"],
            Action::Catalog | Action::Extension => &["*"],
        };
        let Some(repository) = self.repository().filter(|name| !name.is_empty()) else {
            let name = if self.action() == Action::Catalog {
                "catalog"
            } else {
                "extension"
            };
            return vec![Scope::new("registry", name.to_owned(), actions)];
        };
        let own = Scope::new("repository", self.scope_name(repository), actions);
        [Some(own), self.mount_scope()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Returns what a bearer token must grant for the mount that the request asks for. It is one of
    /// [`Route::scopes`], and without it the request is an ordinary upload.
    pub(crate) fn mount_scope(&self) -> Option<Scope> {
        if let Some(from) = self.mount_from() {
            return Some(Scope::new("repository", self.scope_name(from), &["pull"]));
        }
        // A blob from wherever the registry finds it.
        self.mount()
            .map(|_| Scope::new("registry", "mount".to_owned(), &["*"]))
    }

    fn scope_name(&self, repository: &str) -> String {
        match self.registry() {
            Some(registry) if is_plainly_a_host(registry) => format!("{registry}/{repository}"),
            // `app` of the registry `team` must not be `team/app` of this one.
            Some(registry) => format!("{registry}:/{repository}"),
            None => repository.to_owned(),
        }
    }
}

/// As references are read: what else stands before the first slash is part of a name.
fn is_plainly_a_host(registry: &str) -> bool {
    registry.contains(['.', ':']) || registry == "localhost"
}

impl Scope {
    fn new(kind: &'static str, name: String, actions: &'static [&'static str]) -> Self {
        Self {
            kind,
            name,
            actions,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.kind, self.name, self.actions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn a_request_needs_the_scopes_of_all_it_touches() {
        for (method, target, scopes) in [
            (Method::GET, "/v2/", ""),
            (Method::GET, "/v2/a/b/manifests/x", "repository:a/b:pull"),
            (
                Method::GET,
                "/v2/library/alpine/manifests/x?ns=docker.io",
                "repository:docker.io/library/alpine:pull",
            ),
            (
                Method::GET,
                "/v2/app/manifests/x?ns=team",
                "repository:team:/app:pull",
            ),
            (
                Method::GET,
                "/v2/app/manifests/x?ns=localhost",
                "repository:localhost/app:pull",
            ),
            (Method::GET, "/v2/a/tags/list", "repository:a:pull"),
            (Method::PUT, "/v2/a/manifests/x", "repository:a:pull,push"),
            (Method::DELETE, "/v2/a/manifests/x", "repository:a:delete"),
            (Method::GET, "/v2/_catalog", "registry:catalog:*"),
            (
                Method::POST,
                "/v2/a/blobs/uploads/?mount=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855&from=b",
                "repository:a:pull,push repository:b:pull",
            ),
        ] {
            let route = Route::parse(&method, &target.parse().unwrap()).unwrap();
            let all: Vec<String> = route.scopes().iter().map(ToString::to_string).collect();
            assert_eq!(all.join(" "), scopes, "{target}");
        }
    }
}
