use std::time::Duration;

use http::header::{
    CACHE_CONTROL, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
#[cfg(feature = "crl-fetch")]
use reqwest::Url;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;
use serde::{Deserialize, Serialize};

use super::HttpError;
use super::address::{Hosts, shown};

/// More redirects than this lead nowhere.
const REDIRECTS: usize = 5;

/// What a server said of its answer, by which it can be asked for a newer one (RFC 9110 §8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// There is nothing newer.
    Unchanged,
    New(Vec<u8>, Validators),
}

/// Makes an HTTP client that sends requests to these hosts only.
#[cfg(feature = "crl-fetch")]
pub(crate) fn client(hosts: Hosts, timeout: Duration) -> Result<Client, HttpError> {
    build(hosts, timeout, tls()?, false)
}

/// The same, which trusts these CAs alone if there are any, and once it asked by TLS does so to the end.
#[cfg(feature = "jwt-fetch")]
pub(crate) fn strict_client(
    hosts: Hosts,
    timeout: Duration,
    https: bool,
    roots: Option<rustls::RootCertStore>,
) -> Result<Client, HttpError> {
    let tls = match roots {
        None => tls()?,
        Some(roots) => builder()?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    };
    build(hosts, timeout, tls, https)
}

fn build(
    hosts: Hosts,
    timeout: Duration,
    tls: ClientConfig,
    https: bool,
) -> Result<Client, HttpError> {
    let follow = move |attempt: Attempt<'_>| {
        if attempt.previous().len() > REDIRECTS {
            attempt.error("too many redirects")
        } else if hosts.allow(attempt.url()) {
            attempt.follow()
        } else {
            let elsewhere = format!("{} is not an allowed host", shown(attempt.url()));
            attempt.error(elsewhere)
        }
    };
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(https)
        .redirect(Policy::custom(follow))
        .referer(false)
        .no_proxy()
        .timeout(timeout)
        // The next request is minutes away.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| HttpError::NoClient(error.to_string()))
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, HttpError> {
    let failed = |error: &dyn std::fmt::Display| HttpError::NoClient(error.to_string());
    let provider = crate::crypto::provider();
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))
}

fn tls() -> Result<ClientConfig, HttpError> {
    match builder()?.with_platform_verifier() {
        Ok(builder) => Ok(builder.with_no_client_auth()),
        // A container image without CA certificates can still ask over HTTP, as is usual for CRLs.
        Err(error) => {
            tracing::warn!(%error, "no https:// URL can be fetched: the system has no CA certificates");
            let none = rustls::RootCertStore::empty();
            Ok(builder()?
                .with_root_certificates(none)
                .with_no_client_auth())
        }
    }
}

/// Asks for what is at a URL, if it is another than that with these validators; without any, whichever
/// it is, and not of a cache.
#[cfg(feature = "crl-fetch")]
pub(crate) async fn get(
    client: &Client,
    url: &Url,
    known: &Validators,
    max_size: u64,
) -> Result<Answer, HttpError> {
    send(client.get(url.clone()), known, max_size).await
}

/// Sends a request for what is at a URL, if it is another than that with these validators.
pub(crate) async fn send(
    mut request: RequestBuilder,
    known: &Validators,
    max_size: u64,
) -> Result<Answer, HttpError> {
    let mut conditional = false;
    for (name, value) in [
        (IF_NONE_MATCH, &known.etag),
        (IF_MODIFIED_SINCE, &known.last_modified),
    ] {
        if let Some(value) = value {
            conditional = true;
            request = request.header(name, value);
        }
    }
    if !conditional {
        request = request.header(CACHE_CONTROL, "no-cache");
    }
    let response = request.send().await.map_err(HttpError::of)?;
    match response.status() {
        StatusCode::OK => {
            let validators = Validators::of(response.headers());
            Ok(Answer::New(read(response, max_size).await?, validators))
        }
        StatusCode::NOT_MODIFIED if conditional => Ok(Answer::Unchanged),
        status => Err(HttpError::Status(status.as_u16())),
    }
}

async fn read(mut response: Response, max_size: u64) -> Result<Vec<u8>, HttpError> {
    let too_large = |length: u64| length > max_size;
    if response.content_length().is_some_and(too_large) {
        return Err(HttpError::TooLarge(max_size));
    }
    let mut content = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(HttpError::of)? {
        if too_large((content.len() + chunk.len()) as u64) {
            return Err(HttpError::TooLarge(max_size));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Self {
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
        }
    }
}
