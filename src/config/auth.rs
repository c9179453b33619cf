use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

#[cfg(feature = "schema")]
use super::schema::Network;
#[cfg(feature = "jwt")]
use super::{BearerSection, JwtSection};
use super::{Config, Span, Text};
use crate::auth::file::Moment;
use crate::auth::{
    Authentication, Binding, Certificate, CredentialError, CredentialOptions, CredentialSource,
    Credentials, PasswordOptions, ThrottleOptions,
};

/// `[auth]`: what callers must show.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AuthSection {
    /// A token, a client certificate, either, or both.
    pub require: Requirement,
    /// Lets who shows nothing in as `anonymous`, for the policy to judge. Default false.
    #[serde(default)]
    pub anonymous: bool,
    /// Wants a token for whatever does not only read. Default false.
    #[serde(default)]
    pub token_for_writes: bool,
    /// The tokens.
    #[serde(default, rename = "token")]
    pub tokens: Vec<TokenEntry>,
    /// Credentials files.
    #[serde(default)]
    pub credentials: Vec<PathBuf>,
    /// htpasswd files, bcrypt only.
    #[serde(default)]
    pub htpasswd: Vec<PathBuf>,
    /// Directories of Kubernetes Secrets of the type `kubernetes.io/basic-auth`.
    #[serde(default)]
    pub secrets: Vec<PathBuf>,
    /// Issuers whose signed tokens are taken.
    #[cfg(feature = "jwt")]
    #[serde(default)]
    pub jwt: Vec<JwtSection>,
    /// The challenge that sends clients to a token server, in place of the preset's.
    #[cfg(feature = "jwt")]
    pub bearer: Option<BearerSection>,
    /// Use of a secret that expires within this time is logged and counted. Default `"14days"`.
    pub warn_before: Option<Span>,
    /// How passwords are verified.
    #[serde(default)]
    pub passwords: PasswordSection,
    /// How failures are throttled.
    #[serde(default)]
    pub throttle: ThrottleSection,
}

/// What callers must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// A token or password.
    Token,
    /// A client certificate.
    Certificate,
    /// A token, or else a client certificate.
    TokenOrCertificate,
    /// A token and a client certificate.
    TokenAndCertificate,
}

/// `[[auth.token]]`: one caller's token, from exactly one of `env`, `file` and `sha256`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Entry")]
pub struct TokenEntry {
    entry: Entry,
    origin: Origin,
}

/// `[auth.passwords]`: how passwords are verified.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PasswordSection {
    /// How many are verified at a time. Default: half of the processors, at least one.
    pub concurrent: Option<NonZeroUsize>,
    /// How many may wait for their turn. Default 32.
    pub waiting: Option<usize>,
    /// How many right ones are remembered. Default 4096.
    pub remembered: Option<usize>,
    /// How long a right one is remembered. Default `"5min"`.
    pub remember_for: Option<Span>,
}

/// `[auth.throttle]`: how many authentications may fail, per source and per claimed id.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ThrottleSection {
    /// Whether to throttle at all. Default true.
    pub enabled: Option<bool>,
    /// How many may fail at once. Default 30.
    pub burst: Option<NonZeroU32>,
    /// How long until one more may fail. Default `"2s"`.
    pub every: Option<Span>,
    /// How many sources and ids are kept in mind. Default 65536.
    pub capacity: Option<usize>,
    /// Networks that are never throttled.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Network>"))]
    pub exempt: Vec<IpNet>,
}

#[derive(Clone, Debug)]
enum Origin {
    Variable(String),
    File(PathBuf),
    Sha256(Vec<String>),
}

#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The caller's id, and the user with Basic.
    id: String,
    /// The groups that the caller is in.
    #[serde(default)]
    groups: Vec<String>,
    /// The environment variable that has the token, or whose name with `_FILE` has the file's.
    env: Option<String>,
    /// The file that has the token.
    file: Option<PathBuf>,
    /// SHA-256 digests of tokens, in hexadecimal.
    sha256: Option<Vec<String>>,
    /// The networks that it is good from. Default: all.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Network>>"))]
    networks: Option<Vec<IpNet>>,
    /// The client certificate that the token is good with.
    identity: Option<Text<Binding>>,
    /// When the token begins to be good.
    not_before: Option<Moment>,
    /// When it ends to be.
    expires: Option<Moment>,
    /// Lets a token in that is shorter than it should be.
    #[serde(default)]
    weak: bool,
}

#[cfg(feature = "schema")]
super::schema::is_read_as!(TokenEntry, Entry);

impl TryFrom<Entry> for TokenEntry {
    type Error = &'static str;

    fn try_from(mut entry: Entry) -> Result<Self, Self::Error> {
        let origin = match (entry.env.take(), entry.file.take(), entry.sha256.take()) {
            (Some(name), None, None) => Origin::Variable(name),
            (None, Some(file), None) => Origin::File(file),
            (None, None, Some(digests)) => Origin::Sha256(digests),
            _ => return Err("a token has exactly one of `env`, `file` and `sha256`"),
        };
        Ok(Self { entry, origin })
    }
}

impl AuthSection {
    pub(crate) fn authentication(
        &self,
        config: &Config,
    ) -> Result<Authentication, CredentialError> {
        let credentials = || {
            #[cfg(feature = "jwt")]
            if !self.jwt.is_empty() && !self.has_credentials() {
                return Ok(None);
            }
            let mut options = CredentialOptions::default().with_watch(config.reload.options());
            if let Some(Span(time)) = self.warn_before {
                options = options.with_warn_before(time);
            }
            Credentials::watch(self.sources(config)?, options).map(Some)
        };
        let mut authentication = match self.require {
            Requirement::Certificate => Authentication::certificate(),
            Requirement::Token => Authentication::with(credentials()?, Certificate::Ignored),
            Requirement::TokenOrCertificate => {
                Authentication::with(credentials()?, Certificate::Enough)
            }
            Requirement::TokenAndCertificate => {
                Authentication::with(credentials()?, Certificate::Needed)
            }
        };
        #[cfg(feature = "jwt")]
        if !self.jwt.is_empty() {
            let issuers = self.jwt.iter().map(|section| section.issuer(config));
            authentication = authentication.with_issuers(issuers.collect::<Result<Vec<_>, _>>()?);
        }
        if self.anonymous {
            authentication = authentication.or_anonymous();
        }
        if self.token_for_writes {
            authentication = authentication.with_token_for_writes();
        }
        Ok(authentication
            .with_passwords(&self.passwords.options())
            .with_throttle(self.throttle.options().as_ref()))
    }

    #[cfg(feature = "jwt")]
    fn has_credentials(&self) -> bool {
        let files = [&self.credentials, &self.htpasswd, &self.secrets];
        !self.tokens.is_empty() || files.iter().any(|files| !files.is_empty())
    }

    fn sources(&self, config: &Config) -> Result<Vec<CredentialSource>, CredentialError> {
        type Of = fn(PathBuf) -> CredentialSource;

        let mut sources = Vec::new();
        for token in &self.tokens {
            sources.push(token.source(config)?);
        }
        let kinds: [(&[PathBuf], Of); 3] = [
            (&self.credentials, CredentialSource::credentials_file),
            (&self.htpasswd, CredentialSource::htpasswd),
            (&self.secrets, CredentialSource::secret_directory),
        ];
        for (paths, source) in kinds {
            sources.extend(paths.iter().map(|path| source(config.resolve(path))));
        }
        Ok(sources)
    }
}

impl TokenEntry {
    fn source(&self, config: &Config) -> Result<CredentialSource, CredentialError> {
        let entry = &self.entry;
        let id = entry.id.as_str();
        let mut source = match &self.origin {
            Origin::Variable(name) => CredentialSource::variable(id, name),
            Origin::File(file) => CredentialSource::file(id, config.resolve(file)),
            Origin::Sha256(digests) => CredentialSource::sha256(id, digests)?,
        };
        source = source
            .in_groups(entry.groups.iter().cloned())
            .with_weak_allowed(entry.weak);
        if let Some(networks) = &entry.networks {
            source = source.within(networks.iter().copied());
        }
        if let Some(Text(binding)) = &entry.identity {
            source = source.bound_to(binding.clone());
        }
        if let Some(Moment(moment)) = entry.not_before {
            source = source.not_before(moment);
        }
        if let Some(Moment(moment)) = entry.expires {
            source = source.expires(moment);
        }
        Ok(source)
    }
}

impl PasswordSection {
    fn options(&self) -> PasswordOptions {
        let mut options = PasswordOptions::default();
        options.concurrent = self.concurrent.unwrap_or(options.concurrent);
        options.waiting = self.waiting.unwrap_or(options.waiting);
        options.remembered = self.remembered.unwrap_or(options.remembered);
        options.remember_for = self
            .remember_for
            .map_or(options.remember_for, |Span(time)| time);
        options
    }
}

impl ThrottleSection {
    fn options(&self) -> Option<ThrottleOptions> {
        if self.enabled == Some(false) {
            return None;
        }
        let mut options = ThrottleOptions::default();
        options.burst = self.burst.unwrap_or(options.burst);
        options.every = self.every.map_or(options.every, |Span(every)| every);
        options.capacity = self.capacity.unwrap_or(options.capacity);
        options.exempt.clone_from(&self.exempt);
        Some(options)
    }
}
