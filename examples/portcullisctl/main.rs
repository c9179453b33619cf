//! The operator's tool.
//!
//! ```text
//! cargo run --example portcullisctl -- explain --config gate.toml --as token:ci GET /v2/team/app/manifests/v1
//! cargo run --example portcullisctl -- network-policy --config gate.toml --name mirror --pods app=mirror
//! cargo run --example portcullisctl --features schema -- schema
//! cargo run --example portcullisctl -- verify --ca ca.crt --crl crl.pem client.crt
//! cargo run --example portcullisctl -- deny --file denied --certificate node-7.crt --reason "laptop stolen"
//! cargo run --example portcullisctl -- credential-provider --image registry.example.org < request.json
//! cargo run --example portcullisctl -- install-hosts --server https://10.0.0.7:30443 --ca gate-ca.crt --watch
//! cargo run --example portcullisctl -- token ci --host registry.example.org:5000
//! ```

mod certificates;
mod credential_provider;
mod deny;
#[path = "../process/error_chain.rs"]
mod error_chain;
mod explain;
mod files;
mod hash;
mod install_hosts;
mod network_policy;
#[cfg(feature = "schema")]
mod schema;
mod token;
mod verify;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error_chain::chain;

#[derive(Parser)]
#[command(name = "portcullisctl", about = "Asks and prepares what a gate does")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says whether a request would be allowed, which rule decides, and why the others do not
    Explain(explain::Explain),
    /// Prints a Kubernetes `NetworkPolicy` that lets the same networks in as `[source]` does
    NetworkPolicy(network_policy::Print),
    /// Prints the JSON Schema of the configuration file, for editors and checks
    #[cfg(feature = "schema")]
    Schema,
    /// Appends an entry to a deny list: a certificate, a key, a serial number or a SPIFFE ID
    Deny(deny::Deny),
    /// Answers a kubelet with a pod's service-account token as the password for its image's registry
    CredentialProvider(credential_provider::CredentialProvider),
    /// Makes a token and shows where each of its forms goes; it is shown once and kept nowhere
    Token(token::Token),
    /// Says whether a client certificate would be let in, and what the CRLs say of its path
    Verify(verify::Verify),
    /// Writes containerd's hosts.toml, by which it asks a gate first, and takes it away again
    InstallHosts(install_hosts::InstallHosts),
    /// Reads a password from standard input and prints its Argon2id digest line
    Hash(hash::Hash),
}

/// What a command ends with: yes or no, by 0 or 1; 2 is for errors.
type Answer = Result<bool, Box<dyn Error>>;

fn main() -> ExitCode {
    let answer = match Cli::parse().command {
        Command::Explain(command) => command.run(),
        Command::NetworkPolicy(command) => command.run(),
        #[cfg(feature = "schema")]
        Command::Schema => schema::print(),
        Command::Deny(command) => command.run(),
        Command::CredentialProvider(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Hash(command) => command.run(),
        Command::InstallHosts(command) => command.run(),
    };
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("portcullisctl: {}", chain(&*error));
            ExitCode::from(2)
        }
    }
}
