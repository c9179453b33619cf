use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::bounds::{Bounds, DAY, LONG, MINUTE, NOTHING, SECOND};
use super::{
    AuthSection, ClientWarningsSection, ConfigError, CrlSection, DenySection, Document,
    ForwardedSection, HumanDuration, IdentitySection, LimitsSection, PolicySection, ServeSection,
    TlsSection, checks, limits, policy,
};
use crate::Preset;
use crate::access_log::{AccessLogLayer, JsonLines};
#[cfg(feature = "schema")]
use crate::document::schema::Network;
use crate::document::{parse, read};
use crate::reload::WatchOptions;
use crate::source::Networks;

/// A whole configuration, of a file or a text. A section that is not there turns its layer off.
#[derive(Debug)]
pub struct Config {
    /// Whose clients are to be pleased.
    pub(crate) preset: Preset,
    /// The realm of the Basic challenge, in the `registry` preset.
    pub(crate) realm: Option<String>,
    /// Answers 404 where the truth is 403.
    pub(crate) hidden: bool,
    /// How files are watched.
    pub(crate) reload: ReloadSection,
    /// How connections are served.
    pub(crate) serve: ServeSection,
    /// The TLS server.
    pub(crate) tls: Option<TlsSection>,
    /// Certificate revocation lists.
    pub(crate) crl: Option<CrlSection>,
    /// Client certificates that are denied.
    pub(crate) deny: Option<DenySection>,
    /// Which proxies speak for clients.
    pub(crate) forwarded: Option<ForwardedSection>,
    /// Who the holder of a client certificate is.
    pub(crate) identity: Option<IdentitySection>,
    /// Which networks may ask.
    pub(crate) source: Option<SourceSection>,
    /// Who may ask.
    pub(crate) auth: Option<AuthSection>,
    /// Who may do what.
    pub(crate) policy: Option<PolicySection>,
    /// How fast.
    pub(crate) limits: Option<LimitsSection>,
    /// What callers are warned of.
    pub(crate) client_warnings: ClientWarningsSection,
    /// The access log.
    pub(crate) access_log: AccessLogSection,
    pub(crate) document: Document,
}

/// The whole configuration file. A section that is not there turns its layer off.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename = "Config", deny_unknown_fields)]
pub(super) struct Written {
    /// Whose clients are to be pleased: `"mirror"` (default) or `"registry"`.
    #[serde(default)]
    preset: Preset,
    /// The realm of the Basic challenge, in the `registry` preset. Default `"registry"`.
    realm: Option<String>,
    /// Answers 404 where the truth is 403.
    #[serde(default)]
    hidden: bool,
    /// How files are watched.
    #[serde(default)]
    reload: ReloadSection,
    /// How connections are served (feature `serve`).
    #[serde(default)]
    serve: ServeSection,
    /// The TLS server.
    tls: Option<TlsSection>,
    /// Certificate revocation lists.
    crl: Option<CrlSection>,
    /// Client certificates that are denied.
    deny: Option<DenySection>,
    /// Which proxies speak for clients.
    forwarded: Option<ForwardedSection>,
    /// Who the holder of a client certificate is.
    identity: Option<IdentitySection>,
    /// Which networks may ask.
    source: Option<SourceSection>,
    /// Who may ask.
    auth: Option<AuthSection>,
    /// Who may do what.
    policy: Option<policy::Section>,
    /// How fast.
    limits: Option<limits::Section>,
    /// What callers are warned of.
    #[serde(default)]
    client_warnings: ClientWarningsSection,
    /// The access log.
    #[serde(default)]
    access_log: AccessLogSection,
    /// What the program around the guard sets for itself, which only that program reads.
    #[expect(dead_code, reason = "read by `Config::program`")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")
    )]
    program: Option<IgnoredAny>,
}

/// `[reload]`: how files are watched.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct ReloadSection {
    /// How often files are looked at besides the notifications, from `"10ms"` to a day. Default `"5s"`.
    pub(crate) poll_interval: Option<HumanDuration>,
    /// How long files that changed must have been quiet before they are read, at most a minute and no longer than
    /// `poll_interval`. Default `"50ms"`.
    pub(crate) settle: Option<HumanDuration>,
    /// A file of which nothing comes for so long, as on a network mount whose server is gone, counts as
    /// one that cannot be read: from `"100ms"` to ten minutes. Default `"10s"`.
    pub(crate) read_timeout: Option<HumanDuration>,
    /// How long the last good tokens, client CAs, CRLs, policy, networks and issuers' keys stay while their
    /// files or URLs cannot be read or have errors, from `"1s"` to ten years. After it no caller gets in by
    /// them until they are good again: certificates are refused in the handshake, requests with 503. The
    /// server's own certificate and key stay however long: no caller gets in by them.
    /// Default: they stay.
    pub(crate) stale_after: Option<HumanDuration>,
}

/// `[source]`: which networks may ask. Deny wins.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceSection {
    /// These and no others; without the key, every one that is not denied.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Network>>"))]
    pub(crate) allow: Option<Vec<IpNet>>,
    /// Never these.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Network>"))]
    pub(crate) deny: Vec<IpNet>,
}

/// `[access_log]`: one event a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessLogSection {
    /// A file to which each request is appended as a line of JSON, in place of the program's log. When it is
    /// moved away or removed, the next line begins a new one. Relative to the configuration's folder.
    pub(crate) file: Option<PathBuf>,
    /// Which fields a line of the file has: `"full"` (default), or `"compact"`.
    pub(crate) fields: Option<LogFields>,
    /// Paths whose successful requests are logged only now and then.
    #[serde(default)]
    pub(crate) health_checks: Vec<String>,
    /// One in so many of them is. Default 100.
    pub(crate) health_check_every: Option<NonZeroU64>,
}

/// Which fields of an event `JsonLines` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFields {
    /// All that apply.
    Full,
    /// `timestamp`, `client.address`, `principal`, `http.request.method`, `url.path`, `url.query`,
    /// `http.response.status_code`, `refusal.reason`, `refusal.detail`, `http.request.body.size`,
    /// `http.response.body.size`, `http.server.request.duration` and `outcome`: who asked for what, and what
    /// came of it.
    Compact,
}

impl ReloadSection {
    pub(crate) fn options(self) -> WatchOptions {
        let mut options = WatchOptions::default();
        let set = |value: &mut Duration, span: Option<HumanDuration>| {
            if let Some(HumanDuration(span)) = span {
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

impl ReloadSection {
    fn check(&self, check: &Bounds<'_>) -> Result<(), ConfigError> {
        let polls = Duration::from_millis(10)..=DAY;
        check.span("reload.poll_interval", self.poll_interval, polls)?;
        check.span("reload.settle", self.settle, NOTHING..=MINUTE)?;
        let reads = Duration::from_millis(100)..=10 * MINUTE;
        check.span("reload.read_timeout", self.read_timeout, reads)?;
        check.span("reload.stale_after", self.stale_after, SECOND..=LONG)
    }
}

impl AccessLogSection {
    pub(crate) fn layer(&self, document: &Document) -> Result<AccessLogLayer, ConfigError> {
        let mut layer = self.sampled();
        if let Some(file) = &self.file {
            let file = document.resolve(file);
            let lines = JsonLines::open(&file).map_err(|error| {
                let error = format!("{}: {error}", file.display());
                document.unusable("access_log.file", error)
            })?;
            layer = layer.with_sink(lines.with_compact(self.fields == Some(LogFields::Compact)));
        }
        Ok(layer)
    }

    /// The log without the file.
    pub(crate) fn sampled(&self) -> AccessLogLayer {
        let layer = AccessLogLayer::new();
        match self.health_check_every.or(NonZeroU64::new(100)) {
            Some(every) => {
                let paths = self.health_checks.iter().map(String::as_str);
                layer.with_sampled_health_checks(paths, every)
            }
            None => layer,
        }
    }

    fn check(&self, document: &Document) -> Result<(), ConfigError> {
        if self.fields.is_some() && self.file.is_none() {
            let message = "these are the fields of a line in `file`, which is not set";
            return Err(document.invalid("access_log.fields", message));
        }
        Ok(())
    }
}

impl SourceSection {
    /// The networks that may ask.
    pub(crate) fn networks(&self) -> Networks {
        let networks = match &self.allow {
            Some(allow) => Networks::allow(allow.iter().copied()),
            None => Networks::allow_all(),
        };
        networks.and_deny(self.deny.iter().copied())
    }

    /// A section that has lost its lines must not open the gate.
    fn check(&self, document: &Document) -> Result<(), ConfigError> {
        if self.allow.is_none() && self.deny.is_empty() {
            let message = "it names no network: write `allow` or `deny`, or leave the section out";
            return Err(document.invalid("source", message));
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Returns what is wrong in the file, with the place.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let file = file.as_ref();
        let (written, text) = read(file)?;
        Self::checked(written, Document::of_file(file, text))
    }

    /// Reads and checks a text, whose relative paths are relative to the folder `base`. A guard of it follows
    /// the files that it names, and nothing else: the text does not change.
    ///
    /// ```
    /// use portcullis::Guard;
    /// use portcullis::config::Config;
    ///
    /// let config = Config::from_toml("[source]\nallow = [\"10.0.0.0/8\"]\n", "/etc/gate")?;
    /// let guard = Guard::from_config(&config)?;
    /// # Ok::<_, portcullis::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns what is wrong in the text, with the place, in a file that is called `configuration`.
    pub fn from_toml(text: &str, base: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let document = Document::of_text(text, base.as_ref());
        Self::checked(parse(document.name(), text)?, document)
    }

    /// The same configuration as it is now: of a file it is read again.
    pub(crate) fn again(document: &Document) -> Result<Self, ConfigError> {
        if let Some(file) = document.file() {
            return Self::load(file);
        }
        let written = parse(document.name(), document.text())?;
        Self::checked(written, document.clone())
    }

    fn checked(written: Written, mut document: Document) -> Result<Self, ConfigError> {
        document.watch = written.reload.options();
        if let Some(auth) = &written.auth {
            auth.check(&document)?;
        }
        let policy = written.policy.map(|section| section.checked(&document));
        let limits = written.limits.map(|section| section.checked(&document));
        let config = Self {
            preset: written.preset,
            realm: written.realm,
            hidden: written.hidden,
            reload: written.reload,
            serve: written.serve,
            tls: written.tls,
            crl: written.crl,
            deny: written.deny,
            forwarded: written.forwarded,
            identity: written.identity,
            source: written.source,
            auth: written.auth,
            policy: policy.transpose()?,
            limits: limits.transpose()?,
            client_warnings: written.client_warnings,
            access_log: written.access_log,
            document,
        };
        config.check_bounds()?;
        Ok(config)
    }

    fn check_bounds(&self) -> Result<(), ConfigError> {
        self.document.check_names(&checks::NAMES)?;
        let check = Bounds(&self.document);
        self.reload.check(&check)?;
        self.serve.check(&check)?;
        self.client_warnings.check(&check)?;
        self.access_log.check(&self.document)?;
        if let Some(source) = &self.source {
            source.check(&self.document)?;
        }
        if let Some(tls) = &self.tls {
            checks::tls(tls, &check)?;
        }
        if let Some(crl) = &self.crl {
            checks::crl(crl, &check)?;
        }
        if let Some(deny) = &self.deny {
            deny.check(&self.document)?;
        }
        if let Some(auth) = &self.auth {
            checks::auth(auth, &check)?;
        }
        if let Some(identity) = &self.identity {
            identity.mapping(&self.document)?;
        }
        Ok(())
    }
}
