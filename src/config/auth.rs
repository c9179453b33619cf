use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

#[cfg(feature = "jwt")]
use super::{BearerSection, JwtSection};
use super::{ConfigError, Document, HtpasswdEntry, HumanDuration, Key, SecretEntry, TokenEntry};
use crate::auth::{CredentialError, CredentialSource, PasswordOptions, Sources, ThrottleOptions};
use crate::document::paths;
#[cfg(feature = "schema")]
use crate::document::schema::Network;

/// `[auth]`: what callers must show. Credentials follow the file while the server runs; the other keys are
/// read once.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthSection {
    /// A token, a client certificate, either, or both.
    pub(crate) require: Requirement,
    /// Lets who shows nothing in as `anonymous`, for the policy to judge. Default false.
    #[serde(default)]
    pub(crate) anonymous: bool,
    /// Wants a token for whatever does not only read. Default false.
    #[serde(default)]
    pub(crate) token_for_writes: bool,
    /// The tokens.
    #[serde(default, rename = "token")]
    pub(crate) tokens: Vec<TokenEntry>,
    /// Credentials files. One that is emptied, as an htpasswd file, withdraws all that it had, with a warning: no
    /// caller gets in by that.
    #[serde(default, deserialize_with = "paths")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<PathBuf>"))]
    pub(crate) credentials: Vec<PathBuf>,
    /// htpasswd files, of bcrypt and Argon2id: paths, or tables with what holds for their users. bcrypt
    /// takes no password of more than 71 bytes.
    #[serde(default)]
    pub(crate) htpasswd: Vec<HtpasswdEntry>,
    /// Directories of Kubernetes Secrets of the type `kubernetes.io/basic-auth`: paths, or tables with
    /// what holds for their user.
    #[serde(default)]
    pub(crate) secrets: Vec<SecretEntry>,
    /// Issuers whose signed tokens are taken.
    #[cfg(feature = "jwt")]
    #[serde(default)]
    pub(crate) jwt: Vec<JwtSection>,
    /// The challenge that sends clients to a token server, in place of the preset's.
    #[cfg(feature = "jwt")]
    pub(crate) bearer: Option<BearerSection>,
    /// Leaves `Authorization` on the requests that the service gets, marked sensitive. Default false.
    #[serde(default)]
    pub(crate) pass_authorization_on: bool,
    /// Use of a secret that expires within this time is logged and counted. Default `"14days"`.
    pub(crate) warn_before: Option<HumanDuration>,
    /// How passwords are verified.
    #[serde(default)]
    pub(crate) passwords: PasswordSection,
    /// How failures are throttled.
    #[serde(default)]
    pub(crate) throttle: ThrottleSection,
}

/// What callers must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Requirement {
    /// A token or password.
    Token,
    /// A client certificate.
    Certificate,
    /// A token, or else a client certificate.
    TokenOrCertificate,
    /// A token and a client certificate. Without the certificate no token is looked at.
    TokenAndCertificate,
}

/// `[auth.passwords]`: how passwords are verified.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordSection {
    /// How many are verified at a time, at most 1024. Default: half of the processors, at least one.
    pub(crate) concurrent: Option<NonZeroUsize>,
    /// How many may wait for their turn. Default 32.
    pub(crate) waiting: Option<usize>,
    /// How many right ones are remembered. Default 4096.
    pub(crate) remembered: Option<usize>,
    /// How long a right one is remembered, at most 30 days. Default `"5min"`.
    pub(crate) remember_for: Option<HumanDuration>,
}

/// `[auth.throttle]`: how many authentications may fail, per source and, with passwords, per claimed id.
/// Right tokens that cannot be guessed, signed tokens and certificates pass all the same.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct ThrottleSection {
    /// Whether to throttle at all. Default true.
    pub(crate) enabled: Option<bool>,
    /// How many may fail at once from one source; for one id four times as many. Default 30.
    pub(crate) burst: Option<NonZeroU32>,
    /// How long until a source may fail once more, from `"1ms"` to a day; an id takes a quarter of it.
    /// Default `"2s"`.
    pub(crate) every: Option<HumanDuration>,
    /// How many sources, and how many ids, are kept in mind, from 1 to 1,048,576. Default 65536.
    pub(crate) capacity: Option<usize>,
    /// Networks that are never throttled.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Network>"))]
    pub(crate) exempt: Vec<IpNet>,
}

/// Keys of `[auth]` that cannot all be meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum Contradiction {
    #[error(
        "`require = \"certificate\"` looks at no token: take out `token`, `credentials`, `htpasswd`, \
         `secrets`, `jwt` and `bearer`, or write \"token-or-certificate\" or \"token-and-certificate\""
    )]
    TokensUnseen,
    #[error(
        "with `require = \"certificate\"` and `token_for_writes` nobody could write: write \
         \"token-or-certificate\""
    )]
    NobodyWrites,
    #[error(
        "`require = \"token-and-certificate\"` lets nobody in who shows nothing: take out `anonymous`"
    )]
    AnonymousWithBoth,
}

impl AuthSection {
    pub(super) fn check(&self, document: &Document) -> Result<(), ConfigError> {
        let certificate = self.require == Requirement::Certificate;
        if certificate && self.has_tokens() {
            return Err(document.invalid("auth.require", Contradiction::TokensUnseen));
        }
        if certificate && self.token_for_writes {
            return Err(document.invalid("auth.token_for_writes", Contradiction::NobodyWrites));
        }
        if self.require == Requirement::TokenAndCertificate && self.anonymous {
            return Err(document.invalid("auth.anonymous", Contradiction::AnonymousWithBoth));
        }
        #[cfg(feature = "jwt")]
        super::jwt::check(&self.jwt).map_err(|(key, error)| document.invalid(key, error))?;
        Ok(())
    }

    #[cfg_attr(
        not(feature = "jwt"),
        expect(clippy::unused_self, reason = "nobody's signature counts")
    )]
    pub(super) fn has_issuers(&self) -> bool {
        #[cfg(feature = "jwt")]
        return !self.jwt.is_empty();
        #[cfg(not(feature = "jwt"))]
        false
    }

    pub(super) fn has_credentials(&self) -> bool {
        !self.tokens.is_empty()
            || !self.credentials.is_empty()
            || !self.htpasswd.is_empty()
            || !self.secrets.is_empty()
    }

    fn has_tokens(&self) -> bool {
        #[cfg(feature = "jwt")]
        if self.bearer.is_some() {
            return true;
        }
        self.has_issuers() || self.has_credentials()
    }

    /// Where its credentials come from.
    pub(super) fn sources(&self, document: &Document) -> Result<Sources, ConfigError> {
        let mut sources = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            let source = token.source(document);
            let key = || Key::from("auth.token").at(index).key("sha256");
            sources.push(source.map_err(|error| document.unusable(key(), error))?);
        }
        let files = self.credentials.iter().map(|path| document.resolve(path));
        sources.extend(files.map(CredentialSource::credentials_file));
        sources.extend(self.htpasswd.iter().map(|entry| entry.source(document)));
        sources.extend(self.secrets.iter().map(|entry| entry.source(document)));
        let warn_before = self.warn_before.map(|HumanDuration(time)| time);
        Ok(Sources::new(sources, warn_before))
    }

    /// The files with secrets in the clear that it names, with their keys.
    pub(crate) fn secret_files(&self, document: &Document) -> Vec<(Key, PathBuf)> {
        let auth = |name, index| Key::from("auth").key(name).at(index);
        let mut files = Vec::new();
        for (index, token) in self.tokens.iter().enumerate() {
            let key = auth("token", index).key(token.origin_key());
            files.extend(token.file(document).map(|file| (key, file)));
        }
        for (index, entry) in self.secrets.iter().enumerate() {
            files.push((auth("secrets", index), document.resolve(&entry.file())));
        }
        #[cfg(feature = "jwt")]
        for (index, jwt) in self.jwt.iter().enumerate() {
            let key = auth("jwt", index).key("token_file");
            let file = jwt.token_file.as_ref();
            files.extend(file.map(|file| (key, document.resolve(file))));
        }
        files
    }

    /// The files with the keys of issuers that it names, and with the CAs of servers that have such keys.
    #[cfg(unix)]
    #[cfg_attr(
        not(feature = "jwt"),
        expect(clippy::unused_self, reason = "no signature counts")
    )]
    pub(crate) fn key_files(&self, document: &Document) -> Vec<(Key, PathBuf)> {
        #[cfg(feature = "jwt")]
        let files = self.jwt.iter().enumerate().flat_map(|(index, jwt)| {
            let key = move |name| Key::from("auth.jwt").at(index).key(name);
            let named = [("keys", jwt.key_file()), ("ca", jwt.ca.as_deref())].into_iter();
            named.filter_map(move |(name, file)| Some((key(name), document.resolve(file?))))
        });
        #[cfg(feature = "jwt")]
        return files.collect();
        #[cfg(not(feature = "jwt"))]
        {
            let _ = document;
            Vec::new()
        }
    }

    /// The files with digests of secrets that it names, with their keys.
    #[cfg(unix)]
    pub(crate) fn digest_files(&self, document: &Document) -> Vec<(Key, PathBuf)> {
        let key = |name, index| Key::from("auth").key(name).at(index);
        let credentials = self.credentials.iter().enumerate();
        let credentials =
            credentials.map(|(index, file)| (key("credentials", index), document.resolve(file)));
        let htpasswd = self.htpasswd.iter().enumerate();
        let htpasswd =
            htpasswd.map(|(index, entry)| (key("htpasswd", index), document.resolve(entry.file())));
        credentials.chain(htpasswd).collect()
    }

    /// The key of the source of this number, of those of [`AuthSection::sources`].
    pub(super) fn source_key(&self, number: usize) -> Key {
        let mut left = number;
        for (name, count) in [
            ("token", self.tokens.len()),
            ("credentials", self.credentials.len()),
            ("htpasswd", self.htpasswd.len()),
            ("secrets", self.secrets.len()),
        ] {
            if left < count {
                return Key::from("auth").key(name).at(left);
            }
            left -= count;
        }
        "auth".into()
    }

    /// Which key an error of its sources is about; `number` is that of the source.
    pub(super) fn culprit(&self, number: Option<usize>, error: &CredentialError) -> Key {
        let Some(number) = number else {
            return "auth".into();
        };
        let key = self.source_key(number);
        let Some(token) = self.tokens.get(number) else {
            return key;
        };
        match error {
            CredentialError::Id { .. } | CredentialError::SameId { .. } => key.key("id"),
            _ => key.key(token.origin_key()),
        }
    }
}

impl PasswordSection {
    pub(super) fn options(&self) -> PasswordOptions {
        let mut options = PasswordOptions::default();
        options.concurrent = self.concurrent.unwrap_or(options.concurrent);
        options.waiting = self.waiting.unwrap_or(options.waiting);
        options.remembered = self.remembered.unwrap_or(options.remembered);
        options.remember_for = self
            .remember_for
            .map_or(options.remember_for, |HumanDuration(time)| time);
        options
    }
}

impl ThrottleSection {
    pub(super) fn options(&self) -> Option<ThrottleOptions> {
        if self.enabled == Some(false) {
            return None;
        }
        let mut options = ThrottleOptions::default();
        options.burst = self.burst.unwrap_or(options.burst);
        options.every = self
            .every
            .map_or(options.every, |HumanDuration(every)| every);
        options.capacity = self.capacity.unwrap_or(options.capacity);
        options.exempt.clone_from(&self.exempt);
        Some(options)
    }
}
