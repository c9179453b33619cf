use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use portcullis::config::{Config, Requirement};
use portcullis::policy::{Pattern, PolicyError};
use rustls::pki_types::ServerName;
use serde::Deserialize;

use crate::authorization::AuthorizationFile;
use crate::ports::Requests;
use crate::proxy::{Egress, Health, InFlight, Options, Proxy, Served, Targets, TlsFiles, Upstream};

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
        config: &Config,
        options: Options,
    ) -> Result<Served<Requests>, Box<dyn Error>> {
        let files = self.tls.files(config, self.own_host);
        let files = files.map_err(|error| format!("[[program.upstream]]: tls: {error}"))?;
        let tls = || files.watch();
        let file = self.authorization_file.as_ref();
        let file = file.map(|file| AuthorizationFile(config.resolve(file)).watch());
        let options = Options {
            keep_host: !self.own_host,
            authorization: file.transpose()?,
            ..options
        };
        Ok(Served {
            repositories: patterns(&self.repositories, Pattern::repository)?,
            registries: patterns(&self.registries, Pattern::registry)?,
            proxy: Proxy::new(Upstream::parse(&self.url, tls)?, options),
            health: Health::new(),
        })
    }
}

fn patterns(
    texts: &[String],
    parse: impl Fn(&str) -> Result<Pattern, PolicyError>,
) -> Result<Vec<Pattern>, PolicyError> {
    texts.iter().map(|text| parse(text)).collect()
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
    ) -> Result<Egress<Requests>, Box<dyn Error>> {
        if self.tls.ca.is_none() {
            return Err("program.egress.tls.ca is missing: the CAs of the other gates".into());
        }
        let targets = Targets {
            networks: self.networks.clone(),
            ports: self.ports.clone(),
            hosts: self.hosts.clone(),
        };
        targets.check_hosts()?;
        let name = self.name.clone().map(ServerName::try_from).transpose();
        let name =
            name.map_err(|_| "program.egress.name is no name that a certificate can have")?;
        let files = self.tls.files(config, true);
        let tls = files.map_err(|error| format!("program.egress.tls: {error}"))?;
        let tls = tls.watch()?;
        Ok(Egress::new(targets, name, tls, deadlines, in_flight))
    }

    pub(crate) fn checks_revocation(&self) -> bool {
        !self.tls.crl.is_empty()
    }
}

impl TlsSection {
    /// # Errors
    /// The keys do not name one certificate, or none.
    fn files(&self, config: &Config, http2: bool) -> Result<TlsFiles, &'static str> {
        let resolve = |path: &PathBuf| config.resolve(path);
        let certificate = match (&self.certificate, &self.key, &self.bundle) {
            (None, None, None) => None,
            (None, None, Some(bundle)) => Some((bundle, bundle)),
            (Some(certificate), key, None) => {
                Some((certificate, key.as_ref().unwrap_or(certificate)))
            }
            (None, Some(_), None) => {
                return Err(
                    "`key` is without its `certificate`, so that no certificate would be shown",
                );
            }
            (_, _, Some(_)) => {
                return Err(
                    "a bundle holds certificate and key: take out `certificate` and `key`, or `bundle`",
                );
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
