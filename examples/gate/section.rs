use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use portcullis::config::{Config, ConfigError, Requirement};
use portcullis::policy::{Pattern, PolicyError};
use rustls::pki_types::ServerName;
use serde::Deserialize;

use crate::authorization::AuthorizationFile;
use crate::ports::Requests;
use crate::proxy::{
    Egress, Health, InFlight, Options, Proxy, Served, Targets, TlsFiles, Upstream, UpstreamError,
};

/// The section `[program]` of the gate's configuration: what takes more than flags.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    #[serde(default, rename = "upstream")]
    pub(crate) upstreams: Vec<UpstreamSection>,
    #[serde(default, rename = "listener")]
    pub(crate) listeners: Vec<ListenerSection>,
    pub(crate) egress: Option<EgressSection>,
}

/// `[[program.upstream]]`: a registry for some repositories or some registries' names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamSection {
    pub(crate) url: String,
    #[serde(default)]
    repositories: Vec<String>,
    #[serde(default)]
    registries: Vec<String>,
    #[serde(default)]
    own_host: bool,
    authorization_file: Option<PathBuf>,
    /// Of an https registry.
    #[serde(default)]
    tls: TlsSection,
}

/// `[[program.listener]]`: a port besides that of `--listen`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerSection {
    pub(crate) address: SocketAddr,
    /// What callers must show here; by default what they must elsewhere.
    pub(crate) require: Option<Requirement>,
    /// Whether it is in the clear, although there is a `[tls]` or the address is not loopback.
    #[serde(default)]
    pub(crate) clear: bool,
    /// The registry's own probes. A listener with this key, even if empty, answers probes and nothing else.
    pub(crate) probes: Option<Vec<Box<str>>>,
}

/// `[program.egress]`: where this node's own requests may go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EgressSection {
    pub(crate) networks: Vec<IpNet>,
    pub(crate) ports: Vec<u16>,
    #[serde(default)]
    pub(crate) hosts: Vec<Box<str>>,
    pub(crate) name: Option<String>,
    tls: TlsSection,
}

/// The files by which the other side is known, and the gate to it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    ca: Option<PathBuf>,
    #[serde(default)]
    crl: Vec<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    /// One file with both, in place of them.
    bundle: Option<PathBuf>,
}

impl UpstreamSection {
    /// The registry with its requests. Of the flags' `options` it has all but the credential, which is for their
    /// registry alone.
    ///
    /// # Errors
    /// A pattern, the address or a file cannot be used.
    pub(crate) fn served(
        &self,
        index: usize,
        config: &Config,
        options: Options,
    ) -> Result<Served<Requests>, ConfigError> {
        let at = |key: &str| format!("program.upstream[{index}].{key}");
        let patterns = |key: &str, texts: &[String], parse: fn(&str) -> _| {
            let parsed = texts.iter().enumerate().map(|(place, text)| {
                let pattern: Result<Pattern, PolicyError> = parse(text);
                pattern.map_err(|error| config.unusable(&at(&format!("{key}[{place}]")), error))
            });
            parsed.collect::<Result<Vec<_>, _>>()
        };
        let repositories = patterns("repositories", &self.repositories, |text| {
            Pattern::repository(text)
        })?;
        let registries = patterns("registries", &self.registries, |text| {
            Pattern::registry(text)
        })?;
        let files = self.tls.files(config, &at("tls"), self.own_host)?;
        let upstream = Upstream::parse(&self.url, || files.watch()).map_err(|error| {
            let key = match &error {
                UpstreamError::Tls(error) => at(&format!("tls.{}", error.key())),
                _ => at("url"),
            };
            config.unusable(&key, error)
        })?;
        let file = self.authorization_file.as_ref();
        let file = file.map(|file| AuthorizationFile(config.resolve(file)).watch());
        let authorization = file.transpose();
        let authorization =
            authorization.map_err(|error| config.unusable(&at("authorization_file"), error))?;
        let options = Options {
            keep_host: !self.own_host,
            authorization,
            ..options
        };
        Ok(Served {
            repositories,
            registries,
            proxy: Proxy::new(upstream, options),
            health: Health::new(),
        })
    }
}

impl EgressSection {
    /// Goes where the section says, within these deadlines of a connection, a head and a silent body.
    ///
    /// # Errors
    /// A file or the name cannot be used, or without CAs no gate could be known.
    pub(crate) fn egress(
        &self,
        config: &Config,
        deadlines: [Duration; 3],
        in_flight: InFlight,
    ) -> Result<Egress<Requests>, ConfigError> {
        if self.tls.ca.is_none() {
            let missing = "`ca` is missing: the CAs of the other gates";
            return Err(config.unusable("program.egress.tls", missing));
        }
        let targets = Targets {
            networks: self.networks.clone(),
            ports: self.ports.clone(),
            hosts: self.hosts.clone(),
        };
        targets.check_hosts().map_err(|error| {
            let key = format!("program.egress.hosts[{}]", error.index);
            config.unusable(&key, error)
        })?;
        let name = self.name.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|_| {
            config.unusable(
                "program.egress.name",
                "it is no name that a certificate can have",
            )
        })?;
        let tls = self.tls.files(config, "program.egress.tls", true)?.watch();
        let tls = tls.map_err(|error| {
            config.unusable(&format!("program.egress.tls.{}", error.key()), error)
        })?;
        Ok(Egress::new(targets, name, tls, deadlines, in_flight))
    }

    pub(crate) fn checks_revocation(&self) -> bool {
        !self.tls.crl.is_empty()
    }
}

impl TlsSection {
    /// # Errors
    /// The keys do not name one certificate, or none.
    fn files(&self, config: &Config, section: &str, http2: bool) -> Result<TlsFiles, ConfigError> {
        let unusable = |key, error| config.unusable(&format!("{section}.{key}"), error);
        let resolve = |path: &PathBuf| config.resolve(path);
        let certificate = match (&self.certificate, &self.key, &self.bundle) {
            (None, None, None) => None,
            (None, None, Some(bundle)) => Some((bundle, bundle)),
            (Some(certificate), key, None) => {
                Some((certificate, key.as_ref().unwrap_or(certificate)))
            }
            (None, Some(_), None) => {
                return Err(unusable(
                    "key",
                    "it is without its `certificate`, so that no certificate would be shown",
                ));
            }
            (_, _, Some(_)) => {
                return Err(unusable(
                    "bundle",
                    "a bundle holds certificate and key: take out `certificate` and `key`, or `bundle`",
                ));
            }
        };
        Ok(TlsFiles {
            ca: self.ca.as_ref().map(resolve),
            crl: self.crl.iter().map(resolve).collect(),
            certificate: certificate.map(|(chain, key)| (resolve(chain), resolve(key))),
            http2,
        })
    }
}
