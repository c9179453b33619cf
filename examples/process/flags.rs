//! The flags that each program has.

use std::net::SocketAddr;

use humantime::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Where to serve /metrics, /livez and /readyz, in the clear
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,

    /// Checks the configuration and its files, and exits
    #[arg(long)]
    pub(crate) check: bool,

    /// How long transfers in flight may take to finish after SIGTERM or SIGINT
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) drain: Duration,
}
