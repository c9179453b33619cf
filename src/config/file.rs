use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::error::read;
#[cfg(feature = "schema")]
use super::schema::Network;
use super::{
    AuthSection, ConfigError, CrlSection, ForwardedSection, IdentitySection, LimitsSection,
    PolicySection, Span, TlsSection,
};
use crate::Preset;
use crate::audit::AccessLogLayer;
use crate::reload::WatchOptions;
use crate::source::Networks;

/// The whole configuration file. A section that is not there turns its layer off.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Whose clients are to be pleased: `"mirror"` (default) or `"registry"`.
    #[serde(default)]
    pub preset: Preset,
    /// The realm of the Basic challenge, in the `registry` preset. Default `"registry"`.
    pub realm: Option<String>,
    /// Answers 404 where the truth is 403.
    #[serde(default)]
    pub hidden: bool,
    /// How files are watched.
    #[serde(default)]
    pub reload: ReloadSection,
    /// The TLS server.
    pub tls: Option<TlsSection>,
    /// Certificate revocation lists.
    pub crl: Option<CrlSection>,
    /// Which proxies speak for clients.
    pub forwarded: Option<ForwardedSection>,
    /// Who the holder of a client certificate is.
    pub identity: Option<IdentitySection>,
    /// Which networks may ask.
    pub source: Option<SourceSection>,
    /// Who may ask.
    #[serde(default, deserialize_with = "super::auth::checked")]
    pub auth: Option<AuthSection>,
    /// Who may do what.
    pub policy: Option<PolicySection>,
    /// How fast.
    pub limits: Option<LimitsSection>,
    /// The access log.
    #[serde(default)]
    pub access_log: AccessLogSection,
    #[serde(skip)]
    pub(crate) file: PathBuf,
}

/// `[reload]`: how files are watched.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReloadSection {
    /// How often files are looked at besides the notifications. Default `"5s"`.
    pub poll_interval: Option<Span>,
    /// How long a burst of changes must have been quiet. Default `"50ms"`.
    pub settle: Option<Span>,
    /// A file of which nothing comes for so long, as on a network mount whose server is gone, counts as
    /// one that cannot be read. Default `"10s"`.
    pub read_timeout: Option<Span>,
    /// How long the last good tokens, client CAs, CRLs, policy and networks stay while their files cannot
    /// be read or have errors. After it nobody gets in by them until the files are good again. Default:
    /// they stay.
    pub stale_after: Option<Span>,
}

/// `[source]`: which networks may ask. Deny wins.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SourceSection {
    /// These and no others; without the key, every one that is not denied.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Network>>"))]
    pub allow: Option<Vec<IpNet>>,
    /// Never these.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Network>"))]
    pub deny: Vec<IpNet>,
}

/// `[access_log]`: one event a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AccessLogSection {
    /// Paths whose successful requests are logged only now and then.
    #[serde(default)]
    pub health_checks: Vec<String>,
    /// One in so many of them is. Default 100.
    pub health_check_every: Option<NonZeroU64>,
}

impl ReloadSection {
    pub(crate) fn options(self) -> WatchOptions {
        let mut options = WatchOptions::default();
        let set = |value: &mut Duration, span: Option<Span>| {
            if let Some(Span(span)) = span {
                *value = span;
            }
        };
        set(&mut options.poll_interval, self.poll_interval);
        set(&mut options.settle, self.settle);
        set(&mut options.read_timeout, self.read_timeout);
        options.stale_after = self.stale_after.map(|span| span.0);
        options
    }
}

impl AccessLogSection {
    pub(crate) fn layer(&self) -> AccessLogLayer {
        let every = self.health_check_every.or(NonZeroU64::new(100));
        let layer = AccessLogLayer::new();
        match every {
            Some(every) => layer
                .with_sampled_health_checks(self.health_checks.iter().map(String::as_str), every),
            None => layer,
        }
    }
}

impl SourceSection {
    /// The networks that may ask.
    pub fn networks(&self) -> Networks {
        let networks = match &self.allow {
            Some(allow) => Networks::allow(allow.iter().copied()),
            None => Networks::allow_all(),
        };
        networks.and_deny(self.deny.iter().copied())
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong in it, with the place.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let file = file.as_ref();
        let (mut config, text): (Self, _) = read(file)?;
        if let Some(policy) = &mut config.policy {
            policy.place_rules(&text);
        }
        file.clone_into(&mut config.file);
        Ok(config)
    }

    /// `path` as the file means it: relative to the file's own folder.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    pub(crate) fn unusable(
        &self,
        key: &'static str,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> ConfigError {
        ConfigError::Unusable {
            file: self.file.clone(),
            key,
            error: Box::new(error),
        }
    }
}
