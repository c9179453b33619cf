use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;

use super::error::read;
use super::{AuthSection, ConfigError, LimitsSection, Span};
use crate::Preset;
use crate::audit::AccessLogLayer;
use crate::reload::WatchOptions;
use crate::source::Networks;

/// The whole configuration file. A section that is not there turns its layer off.
#[derive(Debug, Deserialize)]
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
    /// Which networks may ask.
    pub source: Option<SourceSection>,
    /// Who may ask.
    pub auth: Option<AuthSection>,
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
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReloadSection {
    /// How often files are looked at besides the notifications. Default `"5s"`.
    pub poll_interval: Option<Span>,
    /// How long a burst of changes must have been quiet. Default `"50ms"`.
    pub settle: Option<Span>,
}

/// `[tls]`: the server's certificate and the client CAs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsSection {
    /// PEM file of the server's certificate chain, its own certificate first.
    pub certificate: PathBuf,
    /// PEM file of the certificate's private key.
    pub key: PathBuf,
    /// PEM files of the CAs that issue client certificates.
    #[serde(default)]
    pub client_ca: Vec<PathBuf>,
    /// Whether clients must have a certificate. Default: `"require"` with `client_ca`, else `"none"`.
    pub client_auth: Option<ClientAuthMode>,
    /// The lowest protocol version: `"1.2"` (default) or `"1.3"`.
    #[serde(default)]
    pub min_version: MinVersion,
    /// How long a handshake may take. Default `"10s"`.
    pub handshake_timeout: Option<Span>,
    /// How many handshakes may be under way. Default 256.
    pub max_handshakes: Option<usize>,
}

/// Whether clients must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthMode {
    /// No handshake without one.
    Require,
    /// Verified if it comes, but none is needed.
    Request,
    /// Not asked for.
    None,
}

/// The lowest TLS version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[crl]`: revocation of client certificates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CrlSection {
    /// PEM or DER files, or directories of them.
    pub files: Vec<PathBuf>,
    /// Which certificates of a path are checked: `"chain"` (default) or `"leaf"`.
    #[serde(default)]
    pub depth: CrlDepth,
    /// A certificate that no usable CRL answers for: `"refuse"` (default) or `"allow"`.
    #[serde(default)]
    pub unknown: CrlUnknown,
    /// How long a CRL past its `nextUpdate` still counts. Default: not at all.
    pub grace: Option<Span>,
}

/// Which certificates of a path are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrlDepth {
    /// Every one below the trust anchor.
    #[default]
    Chain,
    /// The client's own.
    Leaf,
}

/// What a certificate of unknown status gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrlUnknown {
    /// Nothing.
    #[default]
    Refuse,
    /// What a good one gets.
    Allow,
}

/// `[source]`: which networks may ask. Deny wins.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SourceSection {
    /// These and no others; without the key, every one that is not denied.
    pub allow: Option<Vec<IpNet>>,
    /// Never these.
    #[serde(default)]
    pub deny: Vec<IpNet>,
}

/// `[access_log]`: one event a request.
#[derive(Clone, Debug, Default, Deserialize)]
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
        let defaults = WatchOptions::default();
        defaults
            .clone()
            .with_poll_interval(
                self.poll_interval
                    .map_or(defaults.poll_interval, |span| span.0),
            )
            .with_settle(self.settle.map_or(defaults.settle, |span| span.0))
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
    pub(crate) fn networks(&self) -> Networks {
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
        let mut config: Self = read(file)?;
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
