use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::Answer;

/// Of the kubelet's requests and of the answers to them.
const API_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

/// The largest request, in bytes. A token has about one thousand.
const LARGEST: u64 = 1024 * 1024;

/// How long before its end a token is not kept any more: a pull that has begun is to end with it.
const MARGIN: Duration = Duration::from_secs(60);

/// Answers a kubelet that asks for the credentials of an image, as an exec plugin does: reads a
/// `CredentialProviderRequest` on standard input, and writes a `CredentialProviderResponse` with the pod's
/// service-account token as the password. Its configuration is in `examples/kubernetes/credential-provider.yaml`.
///
/// Ends with 0; with 1 where the request has no token that can be used, with 2 where it cannot be read. Standard
/// error then says why, never with the token.
#[derive(Args)]
pub(crate) struct CredentialProvider {
    /// Images that the token is for, as in the kubelet's `matchImages`: a host, in which `*` stands for a part of a
    /// domain, a port and the beginning of a path; can be repeated. Default: the registry of the image asked for.
    #[arg(long = "image", value_name = "PATTERN", value_parser = pattern)]
    images: Vec<String>,
    /// The user name beside the token, one of `auth.jwt.basic_users` if that is set.
    #[arg(long, default_value = "kubelet", value_parser = user)]
    user: String,
    /// How long the kubelet may keep the answer; less where the token ends before.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    cache: Duration,
    /// For which images it keeps it.
    #[arg(long, value_enum, default_value = "registry")]
    cache_key: CacheKey,
}

#[derive(Clone, Copy, Serialize, ValueEnum)]
enum CacheKey {
    Image,
    Registry,
    Global,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    api_version: String,
    kind: String,
    image: String,
    service_account_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    api_version: &'static str,
    kind: &'static str,
    cache_key_type: CacheKey,
    cache_duration: String,
    auth: BTreeMap<&'a str, Auth<'a>>,
}

#[derive(Clone, Serialize)]
struct Auth<'a> {
    username: &'a str,
    password: &'a str,
}

/// What is read of the token: its signature is for the registry to verify.
#[derive(Deserialize)]
struct Claims {
    exp: f64,
}

impl CredentialProvider {
    pub(crate) fn run(&self) -> Answer {
        let request = Request::read()?;
        let token = match request.token() {
            Ok(token) => token,
            Err(reason) => {
                eprintln!("portcullisctl: {reason}");
                return Ok(false);
            }
        };
        let left = token.left.saturating_sub(MARGIN).min(self.cache);
        let mut images: Vec<_> = self.images.iter().map(String::as_str).collect();
        if images.is_empty() {
            images.push(registry(&request.image));
        }
        let auth = Auth {
            username: &self.user,
            password: token.text,
        };
        let response = Response {
            api_version: API_VERSION,
            kind: "CredentialProviderResponse",
            cache_key_type: self.cache_key,
            cache_duration: format!("{}s", left.as_secs()),
            // All of them: the kubelet keeps the answer, for other images too, and looks for the one that fits.
            auth: images
                .into_iter()
                .map(|image| (image, auth.clone()))
                .collect(),
        };
        serde_json::to_writer(io::stdout().lock(), &response)?;
        println!();
        Ok(true)
    }
}

/// A token that may be shown.
struct Token<'a> {
    text: &'a str,
    /// How long it is good.
    left: Duration,
}

impl Request {
    fn read() -> Result<Self, String> {
        let mut text = String::new();
        let read = io::stdin().lock().take(LARGEST).read_to_string(&mut text);
        read.map_err(|error| format!("standard input cannot be read: {error}"))?;
        // The parser quotes what it does not expect, which may be the token.
        let request: Self = serde_json::from_str(&text).map_err(|error| {
            format!(
                "standard input is no CredentialProviderRequest ({:?} error at line {}, column {})",
                error.classify(),
                error.line(),
                error.column()
            )
        })?;
        if request.kind != "CredentialProviderRequest" || request.api_version != API_VERSION {
            return Err(format!(
                "a CredentialProviderRequest of {API_VERSION} is needed: set `apiVersion: {API_VERSION}` for this \
                 provider in the kubelet's CredentialProviderConfig"
            ));
        }
        if request.image.is_empty() {
            return Err("the request names no image".to_owned());
        }
        Ok(request)
    }

    fn token(&self) -> Result<Token<'_>, String> {
        let image = &self.image;
        let text = self.service_account_token.as_deref().unwrap_or_default();
        if text.is_empty() {
            return Err(format!(
                "the request for {image:?} has no service-account token: set \
                 `tokenAttributes.serviceAccountTokenAudience` for this provider in the kubelet's \
                 CredentialProviderConfig (Kubernetes 1.34)"
            ));
        }
        let end = end(text).ok_or_else(|| {
            format!("the service-account token in the request for {image:?} is no signed token with an end")
        })?;
        match end.duration_since(SystemTime::now()) {
            Ok(left) if !left.is_zero() => Ok(Token { text, left }),
            _ => Err(format!(
                "the service-account token in the request for {image:?} has expired: is this node's clock right?"
            )),
        }
    }
}

/// When a signed token ends.
fn end(token: &str) -> Option<SystemTime> {
    let mut parts = token.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let since = Duration::try_from_secs_f64(claims.exp).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// The host of an image's name, with its port.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host == "localhost" || host.contains(['.', ':']) => host,
        _ => "docker.io",
    }
}

fn user(given: &str) -> Result<String, String> {
    if given.is_empty() || given.contains(|c: char| c == ':' || c.is_control()) {
        return Err(
            "a user name of Basic is not empty, without colons and control characters".to_owned(),
        );
    }
    Ok(given.to_owned())
}

fn pattern(given: &str) -> Result<String, String> {
    let (host, path) = given.split_once('/').unwrap_or((given, ""));
    let (domain, port) = host.split_once(':').unwrap_or((host, "0"));
    let is_of_domain = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
    let is_of_path = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let fits = !domain.is_empty()
        && domain.chars().all(is_of_domain)
        && port.parse::<u16>().is_ok()
        && path.chars().all(is_of_path);
    if fits {
        Ok(given.to_owned())
    } else {
        Err("a pattern is HOST[:PORT][/PATH], without a scheme, a tag or a digest, and with `*` in the host only".to_owned())
    }
}
