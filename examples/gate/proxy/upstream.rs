use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};
use parking_lot::Mutex;
use portcullis::Watched;
use portcullis::admin::Readiness;
use rustls::pki_types::ServerName;

use super::{Targets, Tls, TlsFilesError};

/// A registry: where it is, and how it is reached.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    scheme: Scheme,
    authority: Authority,
    place: Arc<Place>,
}

/// Where connections to it go.
#[derive(Debug)]
pub(super) enum Place {
    Http {
        host: Box<str>,
        port: u16,
    },
    Https {
        host: Box<str>,
        port: u16,
        name: ServerName<'static>,
        tls: Watched<Tls>,
    },
    Unix(PathBuf),
    /// Other gates: each at the address that a request names.
    Gates {
        targets: Targets,
        /// The name that every certificate must be for; else each must be for the host that is asked.
        name: Option<ServerName<'static>>,
        tls: Watched<Tls>,
    },
}

impl Place {
    /// Whether requests may share a connection to it.
    pub(super) fn offers_http2(&self) -> bool {
        match self {
            Self::Http { .. } | Self::Unix(_) => false,
            Self::Https { tls, .. } | Self::Gates { tls, .. } => tls
                .load()
                .config
                .alpn_protocols
                .iter()
                .any(|protocol| protocol == b"h2"),
        }
    }
}

/// What is wrong with the address of a registry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error(
        "{0:?} is no address of a registry: write http://HOST:PORT, https://HOST or unix:/PATH"
    )]
    Form(String),
    #[error("{0:?} has a path; the registry is asked for /v2/ at the root of its host")]
    Path(String),
    #[error("{0:?} has a user name or password in it; use --authorization-file")]
    Secret(&'static str),
    #[error("{0:?} is no name that a certificate can have")]
    Name(String),
    #[error(transparent)]
    Tls(#[from] TlsFilesError),
    #[error("a target cannot be made: {0}")]
    Target(#[from] InvalidUri),
    #[error("a target cannot be made: {0}")]
    Parts(#[from] http::uri::InvalidUriParts),
}

impl Upstream {
    /// Reads `http://HOST:PORT`, `https://HOST:PORT` or `unix:/PATH`.
    ///
    /// # Errors
    /// It has another form, or a certificate cannot be for the host.
    pub(crate) fn parse(
        text: &str,
        tls: impl FnOnce() -> Result<Watched<Tls>, TlsFilesError>,
    ) -> Result<Self, UpstreamError> {
        let wrong = || UpstreamError::Form(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(wrong());
            }
            return Ok(Self {
                scheme: Scheme::HTTP,
                authority: Authority::from_static("localhost"),
                place: Arc::new(Place::Unix(path.into())),
            });
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(wrong());
        };
        if authority.as_str().contains('@') {
            return Err(UpstreamError::Secret("the address of the registry"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(UpstreamError::Path(text.to_owned()));
        }
        let host: Box<str> = authority.host().trim_matches(['[', ']']).into();
        let port = port_of(authority).map_err(|PortError| wrong())?;
        if port == Some(0) {
            return Err(wrong());
        }
        let place = match scheme.as_str() {
            "http" => Place::Http {
                port: port.unwrap_or(80),
                host,
            },
            "https" => Place::Https {
                port: port.unwrap_or(443),
                name: ServerName::try_from(host.to_string())
                    .map_err(|_| UpstreamError::Name(host.to_string()))?,
                tls: tls()?,
                host,
            },
            _ => return Err(wrong()),
        };
        Ok(Self {
            scheme: scheme.clone(),
            authority: authority.clone(),
            place: Arc::new(place),
        })
    }

    /// The address of this target, a path with its query, on the registry.
    pub(super) fn target(&self, path: &str) -> Result<Uri, UpstreamError> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::try_from(path)?);
        Ok(Uri::from_parts(parts)?)
    }

    /// Whether this is an address of the registry itself, whatever scheme it thinks that it is asked by.
    pub(super) fn is_named_by(&self, uri: &Uri) -> bool {
        match &*self.place {
            Place::Http { port, .. } | Place::Https { port, .. } => {
                let named = uri.host().map(str::to_ascii_lowercase);
                let own = self.authority.host().to_ascii_lowercase();
                let named_port = uri.authority().map(port_of);
                named == Some(own)
                    && (named_port == Some(Ok(Some(*port))) || is_at(uri, &self.authority))
            }
            Place::Unix(_) | Place::Gates { .. } => is_at(uri, &self.authority),
        }
    }

    pub(super) fn place(&self) -> Arc<Place> {
        Arc::clone(&self.place)
    }
}

/// Whether `uri` is at `authority`, where the port that its scheme has anyway may be written or not.
pub(super) fn is_at(uri: &Uri, authority: &Authority) -> bool {
    let usual = match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    let host = uri.host().unwrap_or_default();
    let port = |authority: &Authority| Some(port_of(authority).ok()?.or(usual));
    let ports = uri.authority().and_then(port).zip(port(authority));
    host.eq_ignore_ascii_case(authority.host()) && ports.is_some_and(|(one, other)| one == other)
}

/// A port is a number up to 65,535, without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortError;

/// The port that is written, if one is. `Authority::port_u16` takes `+80` for 80, and 99999 for none.
pub(super) fn port_of(authority: &Authority) -> Result<Option<u16>, PortError> {
    let text = authority.as_str();
    let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    let port = text.strip_prefix(authority.host()).ok_or(PortError)?;
    match port.strip_prefix(':').unwrap_or(port) {
        "" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| PortError)
        }
        _ => Err(PortError),
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.place {
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
            _ => write!(f, "{}://{}", self.scheme, self.authority),
        }
    }
}

/// What the last probe of a registry found. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub(crate) struct Health(Arc<Mutex<Result<(), String>>>);

impl Health {
    /// Not probed yet, which is not ready.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Err("not asked yet".to_owned()))))
    }

    /// Notes what a probe found, and logs where that is another than before.
    pub(crate) fn note(&self, upstream: &Upstream, found: Result<(), String>) {
        let mut last = self.0.lock();
        match (&*last, &found) {
            (Err(_), Ok(())) => tracing::info!(%upstream, "the registry answers"),
            (Ok(()), Err(error)) => {
                tracing::error!(%upstream, error, "the registry does not answer");
            }
            _ => {}
        }
        *last = found;
    }

    pub(crate) fn readiness(&self) -> Readiness {
        match &*self.0.lock() {
            Ok(()) => Readiness::Ready,
            Err(error) => Readiness::NotReady(error.clone()),
        }
    }
}
