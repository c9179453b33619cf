use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::process::Flags;

/// Serves what this node's containerd holds to other nodes, read-only and behind a `portcullis::Guard`.
///
/// Who may pull what is in the configuration file; `RUST_LOG` says what is logged (default: info).
#[derive(Debug, Parser)]
#[command(name = "node", version)]
pub(crate) struct Arguments {
    /// The gate's configuration (TOML); with `[policy.digest_binding] unknown = "ask"` the guard asks containerd too
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// containerd's socket
    #[arg(
        long,
        value_name = "SOCKET",
        default_value = "/run/containerd/containerd.sock"
    )]
    pub(crate) containerd: PathBuf,

    /// The namespace of containerd whose content is served; the kubelet's is k8s.io
    #[arg(long, default_value = "k8s.io")]
    pub(crate) namespace: String,

    /// Where to listen, over TLS if the configuration has [tls]; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5443")]
    pub(crate) listen: SocketAddr,

    /// Serve in the clear on an address that others can reach
    #[arg(long)]
    pub(crate) clear: bool,

    #[command(flatten)]
    pub(crate) process: Flags,
}

impl Arguments {
    /// # Errors
    /// Content would be served in the clear to others, and no flag says that this is meant.
    pub(crate) fn check_clear(&self, tls: bool) -> Result<(), String> {
        let address = self.listen;
        if tls || self.clear || address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(format!(
            "{address} would be served in the clear, for the configuration has no [tls]; say --clear if that is meant"
        ))
    }
}
