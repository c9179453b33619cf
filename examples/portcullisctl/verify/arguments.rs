use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use portcullis::crl::{AuthorityRule, Options};
use portcullis::tls::ClientCheck;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The options that take several files, each time that they are given.
const OF_FILES: [&str; 6] = ["ca", "chain", "signer", "crl", "before", "deny"];

#[derive(Args)]
pub(super) struct Arguments {
    /// Files of client CAs, in PEM, or folders of them
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub(super) ca: Vec<PathBuf>,
    /// Files of intermediate certificates that the client sends
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(super) chain: Vec<PathBuf>,
    /// Files of further CAs and CRL signers, in PEM, which are not trusted as client CAs
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(super) signer: Vec<PathBuf>,
    /// Files of CRLs, in PEM or DER, compressed by gzip or not, or folders of them
    #[arg(
        long, num_args = 1.., value_name = "FILE",
        required_unless_present_any = ["authority", "short_lived", "deny"]
    )]
    pub(super) crl: Vec<PathBuf>,
    /// Files of the CRLs that a running gate had before, of which it keeps what is newer
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(super) before: Vec<PathBuf>,
    /// The time to ask about, in RFC 3339 form, instead of now
    #[arg(long, value_parser = time)]
    pub(super) at: Option<SystemTime>,
    /// How long a CRL past its nextUpdate still counts, as `1h`
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Which certificates of the path are checked
    #[arg(long, value_enum, default_value_t)]
    depth: Checked,
    /// What becomes of a certificate that no CRL of its issuer is about
    #[arg(long, value_enum, default_value_t)]
    unknown: Unanswered,
    /// What is required under one client CA: `required=CA`, `if-listed=CA` or `none=CA`, where CA is its
    /// subject in RFC 4514 form, or in hexadecimal the SHA-256 of its public key or its key identifier
    #[arg(long, value_name = "RULE", value_parser = rule)]
    pub(super) authority: Vec<AuthorityRule>,
    /// Refuses certificates that are no X.509-SVIDs, as `tls.svid = "strict"` does
    #[arg(long)]
    pub(super) svid: bool,
    /// A client CA that may vouch for a trust domain, as `example.org=CA`, where CA is its subject in RFC 4514
    /// form or the SHA-256 of its public key in hexadecimal: as `tls.trust_domains` has it
    #[arg(long, value_name = "DOMAIN=CA", value_parser = trust_domain)]
    trust_domain: Vec<(String, String)>,
    /// How many intermediate certificates a client may send, as `tls.max_intermediates`
    #[arg(long, value_name = "NUMBER")]
    max_intermediates: Option<usize>,
    /// How many bytes a client's certificates may have together, as `tls.max_chain_size`
    #[arg(long, value_name = "BYTES")]
    max_chain_size: Option<usize>,
    /// Files of a deny list
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(super) deny: Vec<PathBuf>,
    /// Lets certificates of clients pass without a CRL whose whole validity is no longer than this, as `25h`
    #[arg(long, value_parser = humantime::parse_duration)]
    short_lived: Option<Duration>,
    /// Prints JSON
    #[arg(long)]
    pub(super) json: bool,
    /// The client's certificate, in PEM or DER: the last argument
    #[arg(value_name = "CERT")]
    certificate: Option<PathBuf>,
}

#[derive(Clone, Copy, Default, PartialEq, ValueEnum)]
enum Checked {
    #[default]
    Chain,
    Leaf,
}

#[derive(Clone, Copy, Default, PartialEq, ValueEnum)]
enum Unanswered {
    #[default]
    Refuse,
    Allow,
}

/// The arguments, and the client's certificate among them.
pub(crate) struct Verify {
    pub(super) arguments: Arguments,
    pub(super) certificate: PathBuf,
}

impl Arguments {
    /// What a gate requires besides a path.
    pub(super) fn requiring(&self, check: ClientCheck) -> ClientCheck {
        let mut domains: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (domain, ca) in &self.trust_domain {
            domains.entry(domain).or_default().push(ca);
        }
        let check = check.with_strict_svids(self.svid);
        let check = match self.max_intermediates {
            Some(most) => check.with_max_intermediates(most),
            None => check,
        };
        let check = match self.max_chain_size {
            Some(bytes) => check.with_max_chain_size(bytes),
            None => check,
        };
        let with_domain = |check: ClientCheck, (domain, cas)| check.with_trust_domain(domain, cas);
        domains.into_iter().fold(check, with_domain)
    }

    pub(super) fn options(&self) -> Options {
        Options::default()
            .with_grace(self.grace)
            .with_short_lived(self.short_lived)
            .with_leaf_only(self.depth == Checked::Leaf)
            .with_unknown_allowed(self.unknown == Unanswered::Allow)
    }
}

impl FromArgMatches for Verify {
    /// clap gives all that comes after `--crl` to it. If there is no certificate then, it is the last
    /// of several files that the last such option was given.
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut arguments = Arguments::from_arg_matches(matches)?;
        if let Some(certificate) = arguments.certificate.take() {
            return Ok(Self {
                arguments,
                certificate,
            });
        }
        let last = OF_FILES
            .into_iter()
            .max_by_key(|option| matches.indices_of(option).and_then(Iterator::max));
        let given = last.and_then(|option| matches.get_occurrences::<PathBuf>(option)?.next_back());
        let spare = match (last, given.map(Iterator::count)) {
            (Some("ca"), Some(2..)) => arguments.ca.pop(),
            (Some("chain"), Some(2..)) => arguments.chain.pop(),
            (Some("signer"), Some(2..)) => arguments.signer.pop(),
            (Some("crl"), Some(2..)) => arguments.crl.pop(),
            (Some("before"), Some(2..)) => arguments.before.pop(),
            (Some("deny"), Some(2..)) => arguments.deny.pop(),
            _ => None,
        };
        let missing = "CERT, the client's certificate, is missing: it comes last\n";
        let certificate =
            spare.ok_or_else(|| clap::Error::raw(ErrorKind::MissingRequiredArgument, missing))?;
        Ok(Self {
            arguments,
            certificate,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Verify {
    fn augment_args(command: Command) -> Command {
        Arguments::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Arguments::augment_args_for_update(command)
    }
}

fn rule(text: &str) -> Result<AuthorityRule, Box<dyn Error + Send + Sync>> {
    let (requirement, ca) = text.split_once('=').unwrap_or((text, ""));
    let rule = match requirement {
        "required" => AuthorityRule::required(ca),
        "if-listed" => AuthorityRule::if_listed(ca),
        "none" => AuthorityRule::without_crl(ca),
        _ => return Err("a rule begins with required=, if-listed= or none=".into()),
    };
    Ok(rule?)
}

fn trust_domain(text: &str) -> Result<(String, String), Box<dyn Error + Send + Sync>> {
    match text.split_once('=') {
        Some((domain, ca)) if !domain.is_empty() && !ca.is_empty() => {
            Ok((domain.to_owned(), ca.to_owned()))
        }
        _ => Err("write the trust domain and its client CA, as example.org=CN=nodes".into()),
    }
}

fn time(text: &str) -> Result<SystemTime, Box<dyn Error + Send + Sync>> {
    let at = OffsetDateTime::parse(text, &Rfc3339)?.unix_timestamp();
    let since = Duration::from_secs(u64::try_from(at)?);
    Ok(SystemTime::UNIX_EPOCH + since)
}
