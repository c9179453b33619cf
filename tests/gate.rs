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
#[path = "../examples/mirror/log.rs"]
#[allow(dead_code, reason = "a test program has no log of its own")]
mod log;
#[path = "pki/mod.rs"]
mod pki;
#[path = "../examples/gate/proxy/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only the program uses")]
mod proxy;

#[path = "gate/bodies.rs"]
mod bodies;
#[path = "gate/callers.rs"]
mod callers;
#[path = "gate/config.rs"]
mod config;
#[path = "gate/faults.rs"]
mod faults;
#[path = "gate/headers.rs"]
mod headers;
#[path = "gate/locations.rs"]
mod locations;
#[path = "gate/repeats.rs"]
mod repeats;
#[path = "gate/secure.rs"]
mod secure;
#[path = "gate/support.rs"]
mod support;
