use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT, LINK, RETRY_AFTER};
use axum::http::{HeaderMap, Method, StatusCode};
use portcullis::tls::certificates_in;
use reqwest::{Certificate, Client, Response, Url};
use serde::de::DeserializeOwned;

use super::auth::Authenticator;
use super::{UpstreamError, UpstreamSetupError};
use crate::store::Digest;

/// The manifests that a client of today understands.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.5";

/// How many pages of a listing are read, and how long one may be, in bytes.
const PAGES: usize = 64;
const MAX_LISTING: usize = 8 * 1024 * 1024;

/// What an operator says of the upstream.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamOptions {
    /// `https://registry.example`, with a path where the registry has one before `/v2/`.
    pub(crate) url: String,
    /// A PEM file of the CAs to trust instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// A host besides the upstream's own to which the credentials may be shown for a token.
    pub(crate) realm: Option<String>,
}

/// Another registry. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Upstream(Arc<Inner>);

struct Inner {
    client: Client,
    base: Url,
    authenticator: Authenticator,
}

impl Upstream {
    /// Sets up the HTTP client; connects to no server yet.
    ///
    /// # Errors
    /// The URL, a file or the environment is not usable.
    pub(crate) fn new(options: &UpstreamOptions) -> Result<Self, UpstreamSetupError> {
        let base = base(&options.url)?;
        let mut builder = Client::builder()
            .user_agent(concat!("portcullis-mirror/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(30))
            .referer(false)
            // No way from a verified host to a plain one.
            .https_only(base.scheme() == "https");
        if let Some(path) = &options.ca {
            let certificates = certificates_in(path)?;
            let certificates = certificates.iter().map(|der| Certificate::from_der(der));
            let certificates: Result<Vec<_>, _> = certificates.collect();
            let path = path.display().to_string();
            builder = builder.tls_certs_only(
                certificates.map_err(|source| UpstreamSetupError::Certificate { path, source })?,
            );
        } else if base.scheme() == "http" {
            // Nothing to verify, so a system without CA certificates will do.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(UpstreamSetupError::Client)?;
        let authenticator = Authenticator::from_env(client.clone(), &base, options.realm.clone())?;
        Ok(Self(Arc::new(Inner {
            client,
            base,
            authenticator,
        })))
    }

    /// Asks for a manifest by tag or digest.
    pub(super) async fn manifest(
        &self,
        method: Method,
        repository: &str,
        reference: &str,
    ) -> Result<Response, UpstreamError> {
        let path = format!("v2/{repository}/manifests/{reference}");
        self.send(method, repository, &path, MANIFESTS).await
    }

    /// Asks for a blob.
    pub(super) async fn blob(
        &self,
        method: Method,
        repository: &str,
        digest: &Digest,
    ) -> Result<Response, UpstreamError> {
        let path = format!("v2/{repository}/blobs/{digest}");
        self.send(method, repository, &path, "*/*").await
    }

    /// Gathers what a listing has under `key`, page by page; nothing if there is no such listing.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        repository: &str,
        path: &str,
        key: &str,
    ) -> Result<Vec<T>, UpstreamError> {
        let mut found = Vec::new();
        let mut next = path.to_owned();
        for _ in 0..PAGES {
            let response = self.send(Method::GET, repository, &next, "*/*").await;
            let response = match response {
                Err(UpstreamError::Unknown | UpstreamError::Refused) => return Ok(found),
                response => response?,
            };
            let link = next_page(response.headers());
            let text = bounded(response, MAX_LISTING).await?;
            let wrong = |_| UpstreamError::Invalid("a listing that is none");
            let mut listing: serde_json::Value = serde_json::from_slice(&text).map_err(wrong)?;
            // An empty list is `null` in some registries.
            let page: Option<Vec<T>> =
                serde_json::from_value(listing[key].take()).map_err(wrong)?;
            found.extend(page.unwrap_or_default());
            match link {
                Some(link) => next = link,
                None => return Ok(found),
            }
        }
        Err(UpstreamError::Invalid("a listing of too many pages"))
    }

    async fn send(
        &self,
        method: Method,
        repository: &str,
        path: &str,
        accept: &'static str,
    ) -> Result<Response, UpstreamError> {
        let Inner {
            client,
            base,
            authenticator,
        } = &*self.0;
        // The names were parsed by their grammar; only the link of a page could lead elsewhere.
        let url = base.join(path).map_err(|_| UpstreamError::Unknown)?;
        if url.origin() != base.origin() {
            return Err(UpstreamError::Invalid("a listing that goes on elsewhere"));
        }
        let scope = format!("repository:{repository}:pull");
        let mut authorization = authenticator.known(&scope);
        let mut again = true;
        loop {
            let mut request = client.request(method.clone(), url.clone());
            request = request.header(ACCEPT, accept);
            if let Some(value) = authorization {
                request = request.header(axum::http::header::AUTHORIZATION, value);
            }
            let response = request.send().await?;
            if response.status() != StatusCode::UNAUTHORIZED || !again {
                return accepted(response);
            }
            again = false;
            authorization = Some(authenticator.answer(response.headers(), &scope).await?);
        }
    }
}

/// Reads a whole body that must not be long.
pub(super) async fn bounded(
    mut response: Response,
    limit: usize,
) -> Result<Vec<u8>, UpstreamError> {
    let mut content = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if content.len() + chunk.len() > limit {
            return Err(UpstreamError::Invalid("a text that is too long"));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// The target of `Link: <…>; rel="next"` (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let next = parameters.contains("rel=\"next\"") || parameters.contains("rel=next");
    next.then(|| target.to_owned())
}

/// The URL as a directory, to join paths to.
fn base(text: &str) -> Result<Url, UpstreamSetupError> {
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
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn accepted(response: Response) -> Result<Response, UpstreamError> {
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::NOT_FOUND => Err(UpstreamError::Unknown),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(UpstreamError::Refused),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let retry_after = seconds(response.headers());
            Err(UpstreamError::Busy { retry_after })
        }
        status => Err(UpstreamError::Status(status)),
    }
}

fn seconds(headers: &HeaderMap) -> u64 {
    let value = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let seconds = value.and_then(|text| text.parse().ok()).unwrap_or(1);
    // A client would rather go elsewhere than wait longer.
    seconds.clamp(1, 60)
}
