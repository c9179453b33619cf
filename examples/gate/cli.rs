use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;
use http::HeaderName;
use humantime::Duration;

use portcullis::connection::raise_descriptor_limit;
use portcullis::guard::{Builder, SecurityWarning};
use rustix::process::{Resource, getrlimit};

use crate::process::Flags;
use crate::proxy::{ClientCertForm, InFlight, Options, TlsFiles, is_taken};

/// A gate in front of a registry that you have: `portcullis::Guard` around a streaming reverse proxy.
///
/// Who may do what is in the configuration file; `RUST_LOG` says what is logged (default: info).
#[derive(Debug, Parser)]
#[command(name = "gate", version)]
pub(crate) struct Arguments {
    /// The gate's configuration (TOML; see examples/gate/gate.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// The registry, or the one for what no [[program.upstream]] is for: `http://HOST:PORT`, `https://HOST` or
    /// `unix:/PATH`
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,

    /// Where to listen, over TLS if the configuration has [tls]; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5443")]
    pub(crate) listen: SocketAddr,

    /// Serve in the clear on an address that others can reach
    #[arg(long)]
    pub(crate) clear: bool,

    /// Where this node's own requests to other gates go out, on a loopback address, as [program.egress] says; may come
    /// several times, as for IPv4 and IPv6
    #[arg(long, value_name = "ADDR")]
    pub(crate) egress: Vec<SocketAddr>,

    /// A file for the access log, which is appended to; without it the access log is in the log
    #[cfg(feature = "json-log")]
    #[arg(long, value_name = "FILE")]
    pub(crate) access_log: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) process: Flags,

    #[command(flatten)]
    pub(crate) to: UpstreamArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UpstreamArguments {
    /// PEM file of the CAs to trust for the registry, instead of the system's
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,

    /// File of CRLs, PEM or DER, of these CAs and of those beneath them; may come several times
    #[arg(long, value_name = "FILE", requires = "upstream_ca")]
    upstream_crl: Vec<PathBuf>,

    /// PEM file of the gate's certificate for the registry, with its intermediates
    #[arg(long, value_name = "FILE")]
    upstream_cert: Option<PathBuf>,

    /// PEM file of that certificate's key, if it is another file
    #[arg(long, value_name = "FILE", requires = "upstream_cert")]
    upstream_key: Option<PathBuf>,

    /// A file with the value of the Authorization header that the registry is shown; the client's own never
    /// reaches it
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_file: Option<PathBuf>,

    /// Show the registry its own host, and not the one that the client asked for; over https it is then asked
    /// by HTTP/2, if it can
    #[arg(long)]
    own_host: bool,

    /// The header in which the registry is shown who asks, as `token:ci`
    #[arg(long, value_name = "NAME")]
    principal_header: Option<HeaderName>,

    /// Show the registry the client's verified certificate: as X-Forwarded-Client-Cert, or as Client-Cert and
    /// Client-Cert-Chain
    #[arg(long, value_name = "FORM", num_args = 0..=1, default_missing_value = "xfcc")]
    forward_client_cert: Option<ClientCertForm>,

    /// The group of the Spegel peers: from them alone X-Spegel-Mirrored is passed on
    #[arg(long, value_name = "GROUP")]
    peer_group: Option<Box<str>>,

    /// For how long a connection to the registry may take to be made
    #[arg(long, value_name = "TIME", default_value = "1s")]
    connect_timeout: Duration,

    /// For how long the registry may leave a request without an answer
    #[arg(long, value_name = "TIME", default_value = "30s")]
    head_timeout: Duration,

    /// For how long nothing may come of an answer's body
    #[arg(long, value_name = "TIME", default_value = "60s")]
    stall_timeout: Duration,

    /// How many requests may be in flight to registries and other gates at once, and no more than a quarter of the
    /// files that the process may have open; one source has a quarter of them. To each registry a quarter as many
    /// connections, at most 256, stay open idle besides
    #[arg(long, value_name = "COUNT", default_value = "1024")]
    max_in_flight: NonZeroUsize,
}

impl UpstreamArguments {
    /// # Errors
    /// No request could be answered with a value, or the registry would read it as something else.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (flag, time) in [
            ("--connect-timeout", self.connect_timeout),
            ("--head-timeout", self.head_timeout),
            ("--stall-timeout", self.stall_timeout),
        ] {
            if time.is_zero() {
                return Err(format!(
                    "{flag} {time} leaves the registry no time, so that each request fails: write a time as 30s"
                ));
            }
        }
        match &self.principal_header {
            Some(name) if is_taken(name) => Err(format!(
                "--principal-header {name} has another meaning, to HTTP or of the gate's own: take a header that \
                 says nothing else, as X-Registry-User"
            )),
            _ => Ok(()),
        }
    }

    /// The warning of a `--peer-group` that no caller is in.
    pub(crate) fn peers_in_vain(&self, guard: &Builder) -> Option<SecurityWarning> {
        let group = self.peer_group.clone()?;
        (!guard.may_have_group(&group)).then(|| SecurityWarning::UnknownGroupOfSetting {
            setting: "--peer-group".into(),
            group,
        })
    }

    pub(crate) fn tls(&self) -> TlsFiles {
        let key = self.upstream_key.clone().or(self.upstream_cert.clone());
        TlsFiles {
            ca: self.upstream_ca.clone(),
            crl: self.upstream_crl.clone(),
            certificate: self.upstream_cert.clone().zip(key),
            http2: self.own_host,
        }
    }

    /// Of a connection, a head and a silent body.
    pub(crate) fn deadlines(&self) -> [std::time::Duration; 3] {
        [
            *self.connect_timeout,
            *self.head_timeout,
            *self.stall_timeout,
        ]
    }

    /// The places of requests, as many as the limit of open files leaves.
    pub(crate) fn in_flight(&self) -> InFlight {
        let wanted = self.max_in_flight.get();
        // A server raises it too, and reports where it cannot.
        let limit =
            raise_descriptor_limit().unwrap_or_else(|_| getrlimit(Resource::Nofile).current);
        let quarter = limit.and_then(|limit| usize::try_from(limit / 4).ok());
        let places = quarter.map_or(wanted, |quarter| wanted.min(quarter));
        if places < wanted {
            tracing::warn!(
                places,
                wanted,
                "fewer requests may be in flight than --max-in-flight says: they are a quarter of the files that may be \
                 open. Raise the limit (ulimit -n, LimitNOFILE=), or lower --max-in-flight"
            );
        }
        InFlight::new(places)
    }

    pub(crate) fn options(&self, in_flight: &InFlight) -> Options {
        Options {
            connect_timeout: *self.connect_timeout,
            head_timeout: *self.head_timeout,
            stall_timeout: *self.stall_timeout,
            keep_host: !self.own_host,
            principal_header: self.principal_header.clone(),
            client_cert: self.forward_client_cert,
            peer_group: self.peer_group.clone(),
            authorization: None,
            in_flight: in_flight.clone(),
        }
    }
}
