use std::collections::HashMap;
use std::env::{self, VarError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::client::bounded;
use super::{UpstreamError, UpstreamSetupError};

const TOKENS: usize = 1024;
const MAX_ANSWER: usize = 64 * 1024;

/// Answers the upstream's challenges: Basic with the operator's credentials, Bearer with a token
/// fetched from the realm, with the credentials or anonymously (the Docker token protocol).
pub(super) struct Authenticator {
    client: Client,
    host: String,
    plain: bool,
    realm: Option<String>,
    credentials: Option<Credentials>,
    known: Mutex<HashMap<String, Known>>,
}

struct Credentials {
    username: String,
    password: SecretString,
}

struct Known {
    value: HeaderValue,
    until: Instant,
}

#[derive(Deserialize)]
struct Grant {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authenticator {
    /// Takes the credentials from the environment.
    ///
    /// # Errors
    /// Half of them is missing or unreadable.
    pub(super) fn from_env(
        client: Client,
        base: &Url,
        realm: Option<String>,
    ) -> Result<Self, UpstreamSetupError> {
        let username = variable("MIRROR_UPSTREAM_USERNAME")?;
        let password = variable("MIRROR_UPSTREAM_PASSWORD")?;
        let credentials = match (username, password) {
            (Some(username), Some(password)) => Some(Credentials {
                username,
                password: password.into(),
            }),
            (None, None) => None,
            _ => return Err(UpstreamSetupError::HalfCredentials),
        };
        Ok(Self {
            client,
            host: base.host_str().unwrap_or_default().to_owned(),
            plain: base.scheme() == "http",
            realm,
            credentials,
            known: Mutex::default(),
        })
    }

    /// What was accepted for this scope before and is still good.
    pub(super) fn known(&self, scope: &str) -> Option<HeaderValue> {
        let known = self.tokens();
        let found = known.get(scope)?;
        (found.until > Instant::now()).then(|| found.value.clone())
    }

    /// The answer to a 401.
    ///
    /// # Errors
    /// There is no challenge that can be answered, or the realm gives no token.
    pub(super) async fn answer(
        &self,
        headers: &HeaderMap,
        scope: &str,
    ) -> Result<HeaderValue, UpstreamError> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
        let challenges: Vec<&str> = challenges.filter_map(|value| value.to_str().ok()).collect();
        let of = |scheme: &str| {
            challenges.iter().find_map(|challenge| {
                let (name, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
                name.eq_ignore_ascii_case(scheme).then_some(parameters)
            })
        };
        let (value, lifetime) = if let Some(parameters) = of("Bearer") {
            self.token(parameters, scope).await?
        } else if of("Basic").is_some() {
            let credentials = self.credentials.as_ref().ok_or(UpstreamError::Refused)?;
            (credentials.basic()?, Duration::from_secs(60 * 60))
        } else {
            return Err(UpstreamError::Refused);
        };
        self.remember(scope, value.clone(), lifetime);
        Ok(value)
    }

    async fn token(
        &self,
        parameters: &str,
        scope: &str,
    ) -> Result<(HeaderValue, Duration), UpstreamError> {
        let invalid = || UpstreamError::Invalid("its challenge names no usable realm");
        let realm = parameter(parameters, "realm").ok_or_else(invalid)?;
        let mut url = Url::parse(realm).map_err(|_| invalid())?;
        if url.scheme() != "https" && !(self.plain && url.scheme() == "http") {
            return Err(invalid());
        }
        let asked = parameter(parameters, "scope").unwrap_or(scope);
        if let Some(service) = parameter(parameters, "service") {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", asked);
        let host = url.host_str().unwrap_or_default();
        // A realm that the operator does not know gets no credentials, whatever names it.
        let trusted = host == self.host || Some(host) == self.realm.as_deref();
        let mut request = self.client.get(url.clone());
        if let Some(credentials) = self.credentials.as_ref().filter(|_| trusted) {
            let value = credentials.basic()?;
            request = request.header(axum::http::header::AUTHORIZATION, value);
        }
        let response = request.send().await?;
        if !response.status().is_success() {
            return Err(UpstreamError::Refused);
        }
        let text = bounded(response, MAX_ANSWER).await?;
        let wrong = || UpstreamError::Invalid("its realm gave no token");
        let grant: Grant = serde_json::from_slice(&text).map_err(|_| wrong())?;
        let secret = grant.token.or(grant.access_token).ok_or_else(wrong)?;
        let value = sensitive(&format!("Bearer {secret}")).ok_or_else(wrong)?;
        // 60 s where it is not told (the token protocol's default), a bit less than told.
        let lifetime = grant.expires_in.unwrap_or(60).min(24 * 3600);
        Ok((value, Duration::from_secs(lifetime.saturating_sub(5))))
    }

    fn remember(&self, scope: &str, value: HeaderValue, lifetime: Duration) {
        let now = Instant::now();
        let mut known = self.tokens();
        if known.len() >= TOKENS {
            known.retain(|_, known| known.until > now);
        }
        if known.len() >= TOKENS {
            known.clear();
        }
        let until = now + lifetime;
        known.insert(scope.to_owned(), Known { value, until });
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Credentials {
    fn basic(&self) -> Result<HeaderValue, UpstreamError> {
        let pair = format!("{}:{}", self.username, self.password.expose_secret());
        let value = sensitive(&format!("Basic {}", BASE64_STANDARD.encode(pair)));
        value.ok_or(UpstreamError::Invalid("credentials"))
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `name="value"` or `name=value` among the parameters of a challenge (RFC 9110 §11.2).
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = parameters;
    loop {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_matches([' ', ',', '\t']);
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

fn variable(name: &'static str) -> Result<Option<String>, UpstreamSetupError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(UpstreamSetupError::NotUnicode { name }),
    }
}

#[cfg(test)]
mod tests {
    use super::parameter;

    #[test]
    fn a_parameter_is_found_quoted_or_not_and_only_by_its_whole_name() {
        let text =
            r#"realm="https://auth.example/token?a=b,c",service=reg.example, scope="a:b:c,d""#;
        assert_eq!(
            parameter(text, "realm"),
            Some("https://auth.example/token?a=b,c")
        );
        assert_eq!(parameter(text, "service"), Some("reg.example"));
        assert_eq!(parameter(text, "Scope"), Some("a:b:c,d"));
        assert_eq!(parameter(text, "ope"), None);
        assert_eq!(parameter(r#"realm="open"#, "realm"), None);
    }
}
