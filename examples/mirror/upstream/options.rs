use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use axum::http::Method;
use portcullis::oci::Route;
use reqwest::Url;

use super::UpstreamSetupError;

/// By which names Docker's registry goes, and where it is.
const DOCKER_NAMES: [&str; 4] = [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];
const DOCKER: &str = "registry-1.docker.io";
const DOCKER_REALM: &str = "auth.docker.io";

/// What an operator says of the upstream.
#[derive(Clone, Debug, Default)]
pub(crate) struct UpstreamOptions {
    /// `https://registry.example`, with a path where the registry has one before `/v2/`.
    pub(crate) url: String,
    /// A PEM file of the CAs to trust for the upstream instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Hosts besides the upstream's own to which the credentials may be shown for a token.
    pub(crate) realms: Vec<Host>,
    /// Hosts to which the upstream may redirect although their addresses are not public.
    pub(crate) redirects: Vec<Host>,
    pub(crate) patience: Patience,
}

/// For how long the upstream is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For an answer to one question, a token and redirects included. containerd waits for 30 s.
    pub(crate) answer: Duration,
    /// The same while there is something older to serve.
    pub(crate) cached: Duration,
    /// For how long an upstream that did not answer at all is not asked again.
    pub(crate) silence: Duration,
    /// The time in which a transfer must come on by [`Patience::PROGRESS`] bytes.
    pub(crate) progress: Duration,
    /// Before a transfer that was cut goes on; twice that each time it does not come on.
    pub(crate) pause: Duration,
}

impl Patience {
    pub(crate) const PROGRESS: u64 = 64 * 1024;
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(20),
            cached: Duration::from_secs(3),
            silence: Duration::from_secs(10),
            progress: Duration::from_secs(20),
            pause: Duration::from_millis(500),
        }
    }
}

/// `host` or `host:port`, canonical: in lower case, and Docker's registry by its one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    name: String,
    port: Option<u16>,
}

/// Not a host.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host or host:port, such as registry.example or 10.0.0.7:5000")]
pub(crate) struct HostError(String);

/// The registry that a mirror stands for, as containerd names it in `?ns=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace(Host);

/// Hosts of one kind.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashSet<Host>);

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let wrong = || HostError(text.to_owned());
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (text, None),
        };
        if port.is_some_and(|port| port.starts_with('+')) {
            return Err(wrong());
        }
        let port = port.map(str::parse).transpose().map_err(|_| wrong())?;
        // What a URL would read as something else.
        if name.contains(['/', '@', '?', '#', '\\', '%', ' ']) {
            return Err(wrong());
        }
        let url = Url::parse(&format!("https://{name}")).map_err(|_| wrong())?;
        if url.port().is_some() {
            return Err(wrong());
        }
        let name = url.host_str().ok_or_else(wrong)?.to_owned();
        let host = Self { name, port };
        if !is_askable(&host.to_string()) {
            return Err(wrong());
        }
        Ok(host)
    }
}

/// Whether clients can ask for it by `?ns=`.
fn is_askable(registry: &str) -> bool {
    let target = format!("/v2/a/tags/list?ns={registry}");
    let Ok(uri) = target.parse() else {
        return false;
    };
    Route::parse(&Method::GET, &uri).is_ok_and(|route| route.registry() == Some(registry))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Namespace {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let mut host: Host = text.parse()?;
        // The port that a reference without one has.
        host.port = host.port.filter(|port| *port != 443);
        if DOCKER_NAMES.contains(&host.name.as_str()) && host.port.is_none() {
            "docker.io".clone_into(&mut host.name);
        }
        Ok(Self(host))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Hosts {
    pub(super) fn new(hosts: &[Host]) -> Self {
        Self(hosts.iter().cloned().collect())
    }

    /// The upstream's token server too, where the registry is known to have one.
    pub(super) fn with_realm_of(mut self, base: &Url) -> Self {
        if base.host_str() == Some(DOCKER) {
            self.0.insert(Host {
                name: DOCKER_REALM.to_owned(),
                port: None,
            });
        }
        self
    }

    /// Whether the URL's host is among them: with that port, or with any where none was named.
    pub(super) fn have(&self, url: &Url) -> bool {
        let name = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let ports = [None, url.port_or_known_default()];
        ports.into_iter().any(|port| {
            let name = name.clone();
            self.0.contains(&Host { name, port })
        })
    }
}

/// The URL as a directory, to join paths to.
pub(super) fn base(text: &str) -> Result<Url, UpstreamSetupError> {
    let wrong = || UpstreamSetupError::Url {
        // Not one that has a secret in it.
        url: text.rsplit('@').next().unwrap_or_default().to_owned(),
    };
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() || !plain {
        return Err(wrong());
    }
    if DOCKER_NAMES.contains(&url.host_str().unwrap_or_default()) {
        url.set_host(Some(DOCKER)).map_err(|_| wrong())?;
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_host_in_its_one_form_or_an_error() {
        for (text, expected) in [
            ("docker.io", "docker.io"),
            ("Docker.io", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("registry-1.docker.io", "docker.io"),
            ("GHCR.io", "ghcr.io"),
            ("ghcr.io:443", "ghcr.io"),
            ("ghcr.io:0443", "ghcr.io"),
            ("Index.docker.io:443", "docker.io"),
            ("[::1]:443", "[::1]"),
            ("registry.example:5000", "registry.example:5000"),
            ("10.0.0.7:80", "10.0.0.7:80"),
            ("[::1]:5000", "[::1]:5000"),
            ("[0:0::1]", "[::1]"),
            ("localhost", "localhost"),
        ] {
            let namespace: Namespace = text.parse().unwrap();
            assert_eq!(namespace.to_string(), expected, "{text}");
        }
        for text in [
            "",
            " ",
            "https://docker.io",
            "docker.io/library",
            "docker.io/",
            "user@docker.io",
            "docker.io:",
            "docker.io:http",
            "docker.io:70000",
            "docker.io:+443",
            "docker io",
            "docker..io",
            "-docker.io",
            "[::1",
            "docker.io?x",
        ] {
            assert!(text.parse::<Namespace>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn dockers_registry_is_found_by_all_its_names_and_its_token_server_by_itself() {
        for text in ["https://docker.io", "https://Index.Docker.io/"] {
            let base = base(text).unwrap();
            assert_eq!(base.as_str(), "https://registry-1.docker.io/");
            let hosts = Hosts::default().with_realm_of(&base);
            assert!(hosts.have(&"https://auth.docker.io/token".parse().unwrap()));
            assert!(!hosts.have(&"https://auth.docker.io.evil.example/".parse().unwrap()));
        }
        let base = base("https://registry.example/docker/").unwrap();
        assert_eq!(base.as_str(), "https://registry.example/docker/");
        let hosts = Hosts::default().with_realm_of(&base);
        assert!(!hosts.have(&"https://auth.docker.io/token".parse().unwrap()));
    }

    #[test]
    fn a_host_with_a_port_is_that_port_alone() {
        let hosts = Hosts::new(&[
            "a.example:8443".parse().unwrap(),
            "B.example".parse().unwrap(),
        ]);
        for (url, expected) in [
            ("https://a.example:8443/", true),
            ("https://a.example/", false),
            ("https://A.EXAMPLE:8443/", true),
            ("https://b.example/", true),
            ("http://b.example:81/", true),
            ("https://c.b.example/", false),
        ] {
            assert_eq!(hosts.have(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
