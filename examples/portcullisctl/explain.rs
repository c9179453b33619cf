use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use http::{Method, Uri};
use portcullis::config::{Config, Requirement};
use portcullis::identity;
use portcullis::oci::Route;
use portcullis::policy::{Caller, Policy};
use portcullis::{PeerIdentity, Principal};

use crate::{Answer, certificates};

#[derive(Args)]
pub(crate) struct Explain {
    /// The configuration of the gate
    #[arg(long, required_unless_present = "policy")]
    config: Option<PathBuf>,
    /// A policy file, instead of the one that the configuration names
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Who asks: `anonymous`, `token:ID`, `cert:NAME`, `jwt:SUBJECT` or `custom:ID`
    #[arg(long = "as", default_value = "anonymous")]
    caller: String,
    /// A group that the caller is in
    #[arg(long = "group")]
    groups: Vec<String>,
    /// The caller's certificate, in PEM
    #[arg(long)]
    cert: Option<PathBuf>,
    /// The caller's address
    #[arg(long)]
    from: Option<IpAddr>,
    /// Says that the tags are there already, or are not, instead of asking for both
    #[arg(long)]
    tag_exists: Option<bool>,
    /// As in `GET`
    method: Method,
    /// As in `/v2/library/busybox/manifests/latest?ns=docker.io`
    target: Uri,
}

impl Explain {
    pub(crate) fn run(self) -> Answer {
        let config = self.config.as_ref().map(Config::load).transpose()?;
        let policy = self.policy(config.as_ref())?;
        for warning in policy.warnings() {
            eprintln!("warning: {warning}");
        }
        let route = match Route::parse(&self.method, &self.target) {
            Ok(route) => route,
            Err(error) => {
                println!("refused\n{} {}: {error}", self.method, self.target);
                return Ok(false);
            }
        };
        let principal = self.principal(config.as_ref())?;
        if let Some(config) = &config {
            if let Some(reason) = self.refused_before(config, principal.as_ref()) {
                println!("refused\n{reason}");
                return Ok(false);
            }
            self.tell_what_is_not_asked(config, &route);
        }
        let caller = Caller::new(principal.as_ref(), self.from);
        let tags = move |_: Option<&str>, _: &str, _: &str| self.tag_exists;
        let explanation = policy.explain(caller, &route, Some(&tags));
        print!("{explanation}");
        Ok(explanation.verdict().is_allowed())
    }

    fn policy(&self, config: Option<&Config>) -> Result<Policy, Box<dyn std::error::Error>> {
        if let Some(file) = &self.policy {
            return Ok(Policy::load(file)?);
        }
        let policy = config
            .and_then(Config::policy)
            .ok_or("the configuration has no [policy]: everything is allowed")?;
        Ok(policy?)
    }

    /// The caller that the gate finds, with the groups that its configuration gives.
    fn principal(
        &self,
        config: Option<&Config>,
    ) -> Result<Option<Principal>, Box<dyn std::error::Error>> {
        let peer = match &self.cert {
            Some(file) => {
                let found = certificates::read(file)?;
                let own = found.first().ok_or("there is no certificate in it")?;
                Some(PeerIdentity::from_der(own)?)
            }
            None => None,
        };
        let principal = match (self.caller.split_once(':'), peer) {
            (None, Some(peer)) if self.caller == "anonymous" => match config {
                Some(config) => config.certificate_owner(peer)?,
                None => Principal::from_peer(peer),
            },
            (None, None) if self.caller == "anonymous" => return Ok(None),
            (Some((kind, id)), peer) => {
                let method = match kind {
                    "token" => identity::Method::Token,
                    "cert" => identity::Method::Certificate,
                    "jwt" => identity::Method::Jwt,
                    "custom" => identity::Method::Custom,
                    _ => return Err(format!("{:?} is nobody", self.caller).into()),
                };
                let known = match config.filter(|_| kind == "token") {
                    Some(config) if config.requirement().is_some() => Some(
                        config
                            .credential_owner(id)?
                            .ok_or_else(|| format!("[auth] has no credential {id:?}"))?,
                    ),
                    _ => None,
                };
                let principal = known.unwrap_or_else(|| Principal::new(method, id));
                match peer {
                    Some(peer) => principal.on_peer(peer),
                    None => principal,
                }
            }
            _ => return Err(format!("{:?} is nobody", self.caller).into()),
        };
        let groups = principal.groups().to_vec();
        let told = self.groups.iter().map(|group| group.as_str().into());
        let groups: Vec<Box<str>> = groups.into_iter().chain(told).collect();
        Ok(Some(principal.in_groups(groups)))
    }

    /// Why the caller does not get as far as the policy.
    fn refused_before(&self, config: &Config, principal: Option<&Principal>) -> Option<String> {
        if let (Some(networks), Some(from)) = (config.networks(), self.from)
            && !networks.permits(from)
        {
            return Some(format!("[source] does not let {from} ask"));
        }
        let requirement = config.requirement()?;
        let shown = principal.map(Principal::method);
        let takes = match (requirement, shown) {
            (_, None) => config.takes_anonymous(),
            // The program that serves was asked, and nothing else.
            (_, Some(identity::Method::Custom)) => true,
            (Requirement::Token, Some(method)) => method != identity::Method::Certificate,
            (Requirement::Certificate, Some(method)) => method == identity::Method::Certificate,
            (Requirement::TokenAndCertificate, Some(method)) => {
                method != identity::Method::Certificate && self.cert.is_some()
            }
            _ => true,
        };
        let told = principal.map_or_else(|| "anonymous".to_owned(), ToString::to_string);
        (!takes).then(|| format!("[auth] does not take {told}: it requires {requirement:?}"))
    }

    /// What else the gate asks, which only it can answer.
    fn tell_what_is_not_asked(&self, config: &Config, route: &Route) {
        if config.networks().is_some() && self.from.is_none() {
            eprintln!("not asked: whether [source] lets the caller's network in (--from)");
        }
        if config.binds_digests() && route.digest().or(route.mount()).is_some() {
            eprintln!("not asked: whether the repository was seen to lead to the digest");
        }
        if self.caller.starts_with("jwt:") {
            eprintln!("not asked: what the token grants, which the policy may only narrow");
        }
        if config.wants_token_for_writes() {
            eprintln!("not asked: whether a token is shown, which all but reading needs");
        }
    }
}
