//! The proxy of the gate example, behind a guard and a server, between clients and registries that misbehave.
#![cfg(all(feature = "config", feature = "serve", feature = "aws-lc-rs"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

#[path = "../examples/gate/authorization.rs"]
mod authorization;
#[path = "../examples/gate/cli.rs"]
#[allow(dead_code, reason = "what only the program uses")]
mod cli;
#[path = "../examples/gate/dialled.rs"]
mod dialled;
#[path = "../examples/portcullisctl/install_hosts.rs"]
mod install_hosts;
#[path = "../examples/portcullisctl/network_policy.rs"]
mod network_policy;
#[path = "../examples/node/cli.rs"]
#[allow(dead_code, reason = "what only the program uses")]
mod node_cli;
#[path = "pki/mod.rs"]
mod pki;
#[path = "../examples/gate/ports.rs"]
mod ports;
#[path = "../examples/process/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only the program uses")]
mod process;
#[path = "../examples/gate/proxy/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only the program uses")]
mod proxy;
#[path = "../examples/gate/section.rs"]
mod section;
#[path = "../examples/gate/setup.rs"]
#[allow(dead_code, reason = "what only the program uses")]
mod setup;

#[path = "gate/access_log.rs"]
mod access_log;
#[path = "gate/answers.rs"]
mod answers;
#[path = "gate/bodies.rs"]
mod bodies;
#[path = "gate/callers.rs"]
mod callers;
#[path = "gate/config.rs"]
mod config;
#[path = "gate/egress.rs"]
mod egress;
#[path = "gate/faults.rs"]
mod faults;
#[path = "gate/headers.rs"]
mod headers;
#[path = "gate/in_flight.rs"]
mod in_flight;
#[path = "gate/install_hosts.rs"]
mod installing;
#[path = "gate/kubernetes.rs"]
#[allow(dead_code, reason = "that a field is known is the check")]
mod kubernetes;
#[path = "gate/kubernetes_names.rs"]
mod kubernetes_names;
#[path = "gate/listeners.rs"]
mod listeners;
#[path = "gate/locations.rs"]
mod locations;
#[path = "gate/repeats.rs"]
mod repeats;
#[path = "gate/routes.rs"]
mod routes;
#[path = "gate/secure.rs"]
mod secure;
#[path = "gate/support.rs"]
mod support;
#[path = "gate/wire.rs"]
mod wire;

/// As of the commands of `portcullisctl`.
type Answer = Result<bool, Box<dyn std::error::Error>>;
