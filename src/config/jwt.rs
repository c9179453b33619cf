#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Document, HumanDuration, Key};
use crate::Watched;
use crate::auth::CredentialError;
use crate::auth::jwt::{Issuer, KeySet};

/// `[[auth.jwt]]`: an issuer whose signed tokens are taken.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct JwtSection {
    /// What its tokens are.
    pub(crate) kind: JwtKind,
    /// Its name, the `iss` of its tokens. One is named again only for other audiences, or for keys in a second place.
    pub(crate) issuer: String,
    /// Who its tokens are for, one of which is in their `aud`: the `service` of a token server, or
    /// the audience of a projected service-account token.
    pub(crate) audiences: Vec<String>,
    /// Its public keys, a JWK Set (RFC 7517): a file, or with the feature `jwt-fetch` an `https://` URL.
    pub(crate) keys: PathBuf,
    /// The PEM file with the CAs of the URL's server. Default: those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// The file with the Bearer token that is shown to the URL's server. Default: none.
    pub(crate) token_file: Option<PathBuf>,
    /// How often the URL is asked, from `"1s"` to 30 days. Default `"5min"`.
    pub(crate) interval: Option<HumanDuration>,
    /// How long its answer may take, from `"100ms"` to an hour. Default `"10s"`.
    pub(crate) timeout: Option<HumanDuration>,
    /// Put before its callers' ids, so that two issuers' are not confused: of several issuers each has one,
    /// and none begins with another's. Default nothing.
    #[serde(default)]
    pub(crate) prefix: String,
    /// How far its clock may be off, at most an hour. Default `"1min"`.
    pub(crate) leeway: Option<HumanDuration>,
    /// The user names of Basic beside which its tokens count as the password: `[]` takes them as Bearer only.
    /// Default each name.
    pub(crate) basic_users: Option<Vec<String>>,
}

/// What an issuer's tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum JwtKind {
    /// Registry tokens: their `access` is all that is allowed.
    Registry,
    /// Kubernetes service-account tokens: the policy decides.
    ServiceAccount,
}

/// `[auth.bearer]`: the challenge that sends clients to a token server.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct BearerSection {
    /// The URL of the token server.
    pub(crate) realm: String,
    /// The name of this registry there.
    pub(crate) service: String,
}

/// Issuers that cannot stand together, or in this program.
#[derive(Debug, thiserror::Error)]
pub(super) enum IssuersError {
    #[error(
        "callers of the issuers {one:?} and {other:?} could have the same id: give each a `prefix` that \
         no other's begins with"
    )]
    Confused { one: String, other: String },
    #[error(
        "the issuer {issuer:?} is there already with the audience {audience:?}, so that a token of it could be two \
         callers': name it once, or, for keys in a second place, with the same `kind` and `prefix`"
    )]
    Twice { issuer: String, audience: String },
    #[error(
        "`ca`, `token_file`, `interval` and `timeout` are for keys from a URL, and those of the issuer \
         {issuer:?} are in a file"
    )]
    NotFetched { issuer: String },
    #[error(
        "the user name {user:?} is none that Basic can show: it has neither colons nor control characters"
    )]
    NoUser { user: String },
    #[cfg(not(feature = "jwt-fetch"))]
    #[error(
        "the keys of the issuer {issuer:?} are at a URL: that needs the feature `jwt-fetch` of portcullis, \
         which this program was compiled without"
    )]
    NoFetch { issuer: String },
}

/// Whether these can stand together.
pub(super) fn check(issuers: &[JwtSection]) -> Result<(), (Key, IssuersError)> {
    for (number, one) in issuers.iter().enumerate() {
        let wrong = |name, error| Err((Key::from("auth.jwt").at(number).key(name), error));
        let issuer = || one.issuer.clone();
        let fetch = one.ca.is_some() || one.token_file.is_some();
        let fetch = fetch || one.interval.is_some() || one.timeout.is_some();
        match one.url() {
            None if fetch => return wrong("keys", IssuersError::NotFetched { issuer: issuer() }),
            #[cfg(not(feature = "jwt-fetch"))]
            Some(_) => return wrong("keys", IssuersError::NoFetch { issuer: issuer() }),
            _ => {}
        }
        let is_none = |user: &&String| user.contains(|c: char| c == ':' || c.is_control());
        if let Some(user) = one.basic_users.iter().flatten().find(is_none) {
            let user = user.clone();
            return wrong("basic_users", IssuersError::NoUser { user });
        }
        let mut earlier = issuers[..number].iter();
        if let Some(audience) = earlier.find_map(|other| one.repeats(other)) {
            let (issuer, audience) = (issuer(), audience.to_owned());
            return wrong("issuer", IssuersError::Twice { issuer, audience });
        }
        let confused = |other: &&JwtSection| {
            one.issuer != other.issuer
                && (one.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&one.prefix))
        };
        if let Some(other) = issuers[number + 1..].iter().find(confused) {
            let other = other.issuer.clone();
            let one = issuer();
            return wrong("prefix", IssuersError::Confused { one, other });
        }
    }
    Ok(())
}

impl JwtSection {
    /// The audience for which a token of this issuer could be one of `other` too, and mean something else.
    fn repeats(&self, other: &Self) -> Option<&str> {
        let is_same = self.kind == other.kind && self.prefix == other.prefix;
        if self.issuer != other.issuer || is_same && self.keys != other.keys {
            return None;
        }
        let mut audiences = self.audiences.iter();
        let shared = audiences.find(|audience| other.audiences.contains(audience));
        shared.map(String::as_str)
    }

    fn url(&self) -> Option<&str> {
        self.keys.to_str().filter(|keys| keys.contains("://"))
    }

    /// The file that has its keys, if no URL has.
    #[cfg(unix)]
    pub(super) fn key_file(&self) -> Option<&Path> {
        self.url().is_none().then_some(&*self.keys)
    }

    fn keys(&self, document: &Document) -> Result<Watched<KeySet>, CredentialError> {
        #[cfg(feature = "jwt-fetch")]
        if let Some(url) = self.url() {
            let mut fetch = crate::auth::jwt::KeySetFetch::new(url);
            if let Some(file) = &self.ca {
                fetch = fetch.with_ca_file(document.resolve(file));
            }
            if let Some(file) = &self.token_file {
                fetch = fetch.with_token_file(document.resolve(file));
            }
            if let Some(HumanDuration(interval)) = self.interval {
                fetch = fetch.with_interval(interval);
            }
            if let Some(HumanDuration(timeout)) = self.timeout {
                fetch = fetch.with_timeout(timeout);
            }
            if let Some(time) = document.watch.stale_after {
                fetch = fetch.with_stale_after(time);
            }
            return fetch.begin();
        }
        KeySet::watch(document.resolve(&self.keys), document.watch.clone())
    }

    /// Which of its keys an error is about.
    pub(super) fn culprit(&self, document: &Document, error: &CredentialError) -> &'static str {
        if let CredentialError::NoAudience { .. } = error {
            return "audiences";
        }
        let file = error.key_file();
        let is_it = |named: &Option<PathBuf>| {
            let named = named.as_ref().map(|named| document.resolve(named));
            named.is_some() && named.as_deref() == file
        };
        if is_it(&self.token_file) {
            "token_file"
        } else if is_it(&self.ca) {
            "ca"
        } else {
            "keys"
        }
    }

    pub(super) fn issuer(&self, document: &Document) -> Result<Issuer, CredentialError> {
        let keys = self.keys(document)?;
        let issuer = match self.kind {
            JwtKind::Registry => Issuer::of_registry_tokens(&self.issuer, keys),
            JwtKind::ServiceAccount => Issuer::of_service_accounts(&self.issuer, keys),
        };
        let issuer = issuer
            .with_audiences(self.audiences.iter().cloned())?
            .with_subject_prefix(&self.prefix);
        let issuer = match &self.basic_users {
            Some(users) => issuer.with_basic_users(users),
            None => issuer,
        };
        Ok(match self.leeway {
            Some(HumanDuration(leeway)) => issuer.with_leeway(leeway),
            None => issuer,
        })
    }
}
