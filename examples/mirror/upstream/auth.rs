use std::collections::HashMap;
use std::env::{self, VarError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_auth::parser::ChallengeParser;
use parking_lot::Mutex;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::answer::{bounded, judge, verdict};
use super::flight::Flights;
use super::options::{Hosts, UpstreamOptions};
use super::reach::Reach;
use super::seldom::Seldom;
use super::{UpstreamError, UpstreamSetupError};

const TOKENS: usize = 1024;
const MAX_ANSWER: usize = 64 * 1024;
/// For how long credentials of Basic are sent without being asked for.
const BASIC: Duration = Duration::from_secs(60 * 60);

/// Answers the upstream's challenges: Basic with the operator's credentials, Bearer with a token
/// fetched from the realm, with the credentials or anonymously (the Docker token protocol).
pub(super) struct Authenticator {
    reach: Arc<Reach>,
    realms: Hosts,
    credentials: Option<Credentials>,
    known: Mutex<HashMap<String, Known>>,
    fetches: Flights<String, Result<HeaderValue, UpstreamError>>,
    untrusted: Seldom,
}

struct Credentials {
    username: String,
    password: SecretString,
}

struct Known {
    value: HeaderValue,
    until: Instant,
}

/// What a challenge asks for.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

#[derive(Deserialize)]
struct Grant {
    token: Option<String>,
    access_token: Option<String>,
    /// A number; some write it as a text.
    expires_in: Option<serde_json::Value>,
}

impl Authenticator {
    /// Takes the credentials from the environment.
    ///
    /// # Errors
    /// Half of them is missing or unreadable.
    pub(super) fn from_env(
        reach: Arc<Reach>,
        options: &UpstreamOptions,
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
            realms: Hosts::new(&options.realms).with_realm_of(reach.base()),
            reach,
            credentials,
            known: Mutex::default(),
            fetches: Flights::new(),
            untrusted: Seldom::default(),
        })
    }

    pub(super) fn username(&self) -> Option<&str> {
        let credentials = self.credentials.as_ref()?;
        Some(&credentials.username)
    }

    /// What was accepted for this scope before and is still good.
    pub(super) fn known(&self, scope: &str) -> Option<HeaderValue> {
        let known = self.known.lock();
        let found = known.get(scope)?;
        (found.until > Instant::now()).then(|| found.value.clone())
    }

    /// The answer to a 401. `rejected` is what was shown and is not good any more.
    ///
    /// # Errors
    /// There is no challenge that can be answered, or the realm gives no token.
    pub(super) async fn answer(
        self: &Arc<Self>,
        headers: &HeaderMap,
        scope: &str,
        rejected: Option<&HeaderValue>,
    ) -> Result<HeaderValue, UpstreamError> {
        // Another request may have got a new one meanwhile.
        if let Some(value) = self.known(scope).filter(|value| Some(value) != rejected) {
            return Ok(value);
        }
        match challenge(headers) {
            Some(Challenge::Bearer {
                realm,
                service,
                scope: asked,
            }) => {
                let this = Arc::clone(self);
                let key = scope.to_owned();
                let name = key.clone();
                let fetch = move || async move {
                    let asked = asked.unwrap_or_else(|| name.clone());
                    let (value, lifetime) = this.token(&realm, service, &asked).await?;
                    this.remember(&name, value.clone(), lifetime);
                    Ok(value)
                };
                self.fetches.join(key, fetch).await
            }
            Some(Challenge::Basic) => {
                let credentials = self.credentials.as_ref();
                let credentials = credentials.ok_or(UpstreamError::Challenge(
                    "takes credentials of Basic, of which none are set",
                ))?;
                let value = credentials.basic()?;
                if Some(&value) == rejected {
                    return Err(UpstreamError::Credentials);
                }
                self.remember(scope, value.clone(), BASIC);
                Ok(value)
            }
            None => Err(UpstreamError::Challenge(
                "takes neither Basic nor a token of a realm that it names",
            )),
        }
    }

    /// Forgets what the registry did not take.
    pub(super) fn forget(&self, scope: &str, rejected: &HeaderValue) {
        let mut known = self.known.lock();
        if known
            .get(scope)
            .is_some_and(|known| known.value == *rejected)
        {
            known.remove(scope);
        }
    }

    /// The upstream itself, and what the operator knows.
    fn trusts(&self, realm: &Url) -> bool {
        let base = self.reach.base();
        let same = realm.host_str() == base.host_str() && realm.scheme() == base.scheme();
        // A realm on another port is another server, which the operator has to name.
        let same = same && realm.port_or_known_default() == base.port_or_known_default();
        same || self.realms.have(realm)
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<String>,
        scope: &str,
    ) -> Result<(HeaderValue, Duration), UpstreamError> {
        let invalid = || UpstreamError::Invalid("its challenge names no usable realm");
        let mut url = Url::parse(realm).map_err(|_| invalid())?;
        if url.scheme() != "https" && self.reach.base().scheme() != "http" {
            return Err(invalid());
        }
        let trusted = self.trusts(&url);
        if !trusted && self.credentials.is_some() && self.untrusted.allow().is_some() {
            tracing::error!(
                realm = url.host_str().unwrap_or_default(),
                "MIRROR_UPSTREAM_USERNAME and MIRROR_UPSTREAM_PASSWORD are not used: the upstream's tokens \
                 come from a host that is not its own; name that host with --upstream-realm if it may see \
                 the credentials"
            );
        }
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", &service);
        }
        if !scope.is_empty() {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        let mut headers = HeaderMap::new();
        let credentials = self.credentials.as_ref().filter(|_| trusted);
        if let Some(credentials) = credentials {
            headers.insert(AUTHORIZATION, credentials.basic()?);
        }
        // What the realm does says nothing of the registry.
        let answer = self.reach.ask(&Method::GET, url, headers, || {}).await?;
        let status = answer.response.status();
        let denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        if denied.contains(&status) {
            // Whether it is the credentials or what they are good for, not all tell apart. Without any, it
            // says so by the body of a registry.
            return Err(match self.credentials {
                Some(_) => UpstreamError::Credentials,
                None => verdict(answer.response, status).await,
            });
        }
        // The token server does not know what the registry has.
        let response = judge(answer.response, false).await?;
        let text = bounded(response, MAX_ANSWER).await?;
        let wrong = || UpstreamError::Invalid("its realm gave no token");
        let grant: Grant = serde_json::from_slice(&text).map_err(|_| wrong())?;
        let lifetime = grant.lifetime();
        let tokens = [grant.token, grant.access_token].into_iter().flatten();
        let token = tokens.into_iter().find(|text| !text.is_empty());
        let value = sensitive(&format!("Bearer {}", token.ok_or_else(wrong)?));
        Ok((value.ok_or_else(wrong)?, lifetime))
    }

    fn remember(&self, scope: &str, value: HeaderValue, lifetime: Duration) {
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= TOKENS {
            known.retain(|_, known| known.until > now);
        }
        if known.len() >= TOKENS {
            known.clear();
        }
        let until = now + lifetime;
        known.insert(scope.to_owned(), Known { value, until });
    }
}

impl Credentials {
    fn basic(&self) -> Result<HeaderValue, UpstreamError> {
        let pair = format!("{}:{}", self.username, self.password.expose_secret());
        let value = sensitive(&format!("Basic {}", BASE64_STANDARD.encode(pair)));
        value.ok_or(UpstreamError::Credentials)
    }
}

impl Grant {
    fn lifetime(&self) -> Duration {
        let told = self.expires_in.as_ref();
        let told = told.and_then(|told| told.as_u64().or_else(|| told.as_str()?.parse().ok()));
        // The token protocol's default is 60 s. The margin keeps a token from ending on its way.
        Duration::from_secs(told.unwrap_or(60).min(24 * 3600).saturating_sub(5))
    }
}

/// The challenge to answer, from all schemes in all headers (RFC 9110 §11.6.1): Bearer rather than
/// Basic, because a registry that offers both wants tokens.
fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    // What precedes a mistake counts.
    let challenges = texts.flat_map(|text| ChallengeParser::new(text).map_while(Result::ok));
    let mut basic = None;
    for challenge in challenges {
        let parameter = |name: &str| {
            let mut parameters = challenge.params.iter();
            let found = parameters.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        if challenge.scheme.eq_ignore_ascii_case("Bearer") {
            if let Some(realm) = parameter("realm") {
                return Some(Challenge::Bearer {
                    realm,
                    service: parameter("service"),
                    scope: parameter("scope").filter(|scope| !scope.is_empty()),
                });
            }
        } else if challenge.scheme.eq_ignore_ascii_case("Basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
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
    use super::*;

    #[test]
    fn the_challenge_to_answer_is_found_among_several_in_one_header_or_in_more() {
        let bearer = |scope: Option<&str>| Challenge::Bearer {
            realm: "https://auth.example/token?a=b,c".to_owned(),
            service: Some("reg.example".to_owned()),
            scope: scope.map(str::to_owned),
        };
        let realm = "realm=\"https://auth.example/token?a=b,c\", service=reg.example";
        for (values, expected) in [
            (vec![format!("Bearer {realm}")], Some(bearer(None))),
            (
                vec![format!("bearer {realm},scope=\"a:b:c,d\"")],
                Some(bearer(Some("a:b:c,d"))),
            ),
            (
                vec![format!("Basic realm=\"x\", Bearer {realm}")],
                Some(bearer(None)),
            ),
            (
                vec![format!("Bearer {realm}, Basic realm=\"x\"")],
                Some(bearer(None)),
            ),
            (
                vec!["Basic realm=\"x\"".to_owned(), format!("Bearer {realm}")],
                Some(bearer(None)),
            ),
            (
                vec!["Negotiate".to_owned(), "Basic realm=\"x\"".to_owned()],
                Some(Challenge::Basic),
            ),
            (vec!["Bearer".to_owned()], None),
            (vec!["Digest realm=\"x\"".to_owned()], None),
            (vec!["Bearer realm=\"open".to_owned()], None),
            (vec![], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
            }
            assert_eq!(challenge(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn a_token_lives_for_as_long_as_is_told() {
        for (text, expected) in [
            ("{}", 55),
            (r#"{"expires_in":300}"#, 295),
            (r#"{"expires_in":"300"}"#, 295),
            (r#"{"expires_in":3}"#, 0),
            (r#"{"expires_in":-1}"#, 55),
            (r#"{"expires_in":99999999999}"#, 24 * 3600 - 5),
        ] {
            let grant: Grant = serde_json::from_str(text).unwrap();
            assert_eq!(grant.lifetime().as_secs(), expected, "{text}");
        }
    }
}
