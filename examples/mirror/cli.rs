use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use humantime::Duration;

use crate::upstream::{Host, Namespace, Patience, UpstreamOptions};

/// A guarded OCI registry mirror: a store on disk behind `portcullis::Guard`.
///
/// Without --config it makes itself demo keys under DIR/demo, once, and says how to pull with them.
/// Credentials for the upstream come from `MIRROR_UPSTREAM_USERNAME` and
/// `MIRROR_UPSTREAM_PASSWORD`; `RUST_LOG` says what is logged (default: info).
#[derive(Debug, Parser)]
#[command(name = "mirror", version)]
pub(crate) struct Arguments {
    /// Where images and demo keys are kept
    #[arg(long, value_name = "DIR", default_value = "./mirror-data")]
    pub(crate) data: PathBuf,

    /// Where to serve the registry, over TLS; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    pub(crate) listen: SocketAddr,

    /// Where to serve /metrics, /livez and /readyz, in the clear
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,

    /// The gate's configuration (TOML; see examples/mirror.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Checks the configuration and its files, and exits
    #[arg(long)]
    pub(crate) check: bool,

    /// How long transfers in flight may take to finish after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) drain: Duration,

    /// After what time an upload that no client goes on with is removed
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub(crate) upload_ttl: Duration,

    #[command(flatten)]
    upstream: UpstreamArguments,
}

#[derive(Debug, clap::Args)]
struct UpstreamArguments {
    /// The registry from which to pull what is not here
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,

    /// PEM file of the CAs to trust for the upstream, instead of the system's
    #[arg(long, value_name = "FILE", requires = "upstream")]
    upstream_ca: Option<PathBuf>,

    /// A host besides the upstream's own that may see its credentials to give a token for them; that
    /// of docker.io is known
    #[arg(long, value_name = "HOST[:PORT]", requires = "upstream")]
    upstream_realm: Vec<Host>,

    /// A host to which the upstream may redirect although its address is not public
    #[arg(long, value_name = "HOST[:PORT]", requires = "upstream")]
    upstream_redirect: Vec<Host>,

    /// The registry that this is a mirror of, as containerd names it (?ns=docker.io); what is asked
    /// of another is not here
    #[arg(long, value_name = "HOST[:PORT]")]
    namespace: Option<Namespace>,

    /// For how long a tag of the upstream's is taken to be where it was
    #[arg(long, value_name = "TIME", default_value = "60s")]
    tag_ttl: Duration,
}

impl Arguments {
    pub(crate) fn namespace(&self) -> Option<String> {
        self.upstream.namespace.as_ref().map(Namespace::to_string)
    }

    /// The upstream and the time after which its tags are looked at again, if there is one.
    pub(crate) fn upstream(&self) -> Option<(UpstreamOptions, std::time::Duration)> {
        let arguments = &self.upstream;
        let options = UpstreamOptions {
            url: arguments.upstream.clone()?,
            ca: arguments.upstream_ca.clone(),
            realms: arguments.upstream_realm.clone(),
            redirects: arguments.upstream_redirect.clone(),
            patience: Patience::default(),
        };
        Some((options, *arguments.tag_ttl))
    }
}
