use std::path::PathBuf;

use clap::Args;
use portcullis::config::Config;

use crate::Answer;

#[derive(Args)]
pub(crate) struct Print {
    /// The configuration of the gate
    #[arg(long)]
    config: PathBuf,
    /// The policy's name
    #[arg(long, default_value = "portcullis")]
    name: String,
    /// The policy's namespace
    #[arg(long)]
    namespace: Option<String>,
    /// A label of the gate's pods, as in `app=mirror`
    #[arg(long = "pods", required = true)]
    labels: Vec<String>,
    /// A port of the gate's; without one, every port
    #[arg(long = "port")]
    ports: Vec<u16>,
}

impl Print {
    pub(crate) fn run(self) -> Answer {
        let config = Config::load(&self.config)?;
        let networks = config
            .networks()
            .ok_or("the configuration has no [source]: every network may ask")?;
        // The cluster sees a proxy's address where the gate sees that of the client behind it.
        let proxies: Vec<_> = config.proxies().collect();
        if !proxies.is_empty() {
            let list: Vec<_> = proxies.iter().map(ToString::to_string).collect();
            eprintln!(
                "warning: clients behind the proxies {} are let in by the gate alone: the policy lets \
                 in the proxies, as [forwarded] and tls.proxy_protocol name them",
                list.join(", ")
            );
        }
        let networks = networks.and_allow(proxies);
        let labels = self.labels.iter().map(String::as_str);
        let namespace = self.namespace.as_deref();
        let policy = networks.to_network_policy(&self.name, namespace, labels, &self.ports)?;
        print!("{policy}");
        Ok(true)
    }
}
