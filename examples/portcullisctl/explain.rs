use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use http::{Method, Uri};
use portcullis::config::{Config, PolicyRules};
use portcullis::identity;
use portcullis::oci::Route;
use portcullis::policy::{Caller, Policy, PolicyFile};
use portcullis::reload::Load;
use portcullis::{PeerIdentity, Principal};

use crate::Answer;

#[derive(Args)]
pub(crate) struct Explain {
    /// The configuration of the gate
    #[arg(long, required_unless_present = "policy")]
    config: Option<PathBuf>,
    /// A policy file, instead of the one that the configuration names
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Who asks: `anonymous`, `token:ID`, `cert:NAME` or `jwt:SUBJECT`
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
        let policy = self.policy()?;
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
        let principal = self.principal()?;
        let caller = Caller::new(principal.as_ref(), self.from);
        let tags = move |_: Option<&str>, _: &str, _: &str| self.tag_exists;
        let explanation = policy.explain(caller, &route, Some(&tags));
        print!("{explanation}");
        Ok(explanation.verdict().is_allowed())
    }

    fn policy(&self) -> Result<Policy, Box<dyn std::error::Error>> {
        if let Some(file) = &self.policy {
            return Ok(PolicyFile::new(file).load(None)?);
        }
        let file = self.config.as_deref().unwrap_or(Path::new("gate.toml"));
        let config = Config::load(file)?;
        let section = config
            .policy
            .ok_or("the configuration has no [policy]: everything is allowed")?;
        Ok(match section.rules {
            PolicyRules::Here(rules) => Policy::new(rules)?,
            PolicyRules::File(policy) => {
                let folder = file.parent().unwrap_or(Path::new("."));
                PolicyFile::new(folder.join(policy)).load(None)?
            }
            _ => return Err("rules of a kind that this tool does not know".into()),
        })
    }

    fn principal(&self) -> Result<Option<Principal>, Box<dyn std::error::Error>> {
        let peer = match &self.cert {
            Some(file) => {
                let pem = std::fs::read(file)?;
                let (_, pem) = x509_parser::pem::parse_x509_pem(&pem)?;
                Some(PeerIdentity::from_der(&pem.contents)?)
            }
            None => None,
        };
        let principal = match (self.caller.split_once(':'), peer) {
            (None, Some(peer)) if self.caller == "anonymous" => Principal::from_peer(peer),
            (None, None) if self.caller == "anonymous" => return Ok(None),
            (Some((kind, id)), peer) => {
                let method = match kind {
                    "token" => identity::Method::Token,
                    "cert" => identity::Method::Certificate,
                    "jwt" => identity::Method::Jwt,
                    _ => return Err(format!("{:?} is nobody", self.caller).into()),
                };
                let principal = Principal::new(method, id);
                match peer {
                    Some(peer) => principal.on_peer(peer),
                    None => principal,
                }
            }
            _ => return Err(format!("{:?} is nobody", self.caller).into()),
        };
        Ok(Some(
            principal.in_groups(self.groups.iter().map(String::as_str)),
        ))
    }
}
