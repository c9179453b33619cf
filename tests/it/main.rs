//! Tests through the public API, a module a capability. What needs a process of its own (an allocator, a
//! global metrics recorder, other programs) is a test program beside this folder.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../captured/mod.rs"]
mod captured;
#[path = "../chaos/mod.rs"]
mod chaos;
#[path = "../http_server/mod.rs"]
mod http_server;
#[path = "../pki/mod.rs"]
mod pki;
#[path = "../rate_support/mod.rs"]
mod rate_support;
#[path = "../waiting/mod.rs"]
mod waiting;

mod audit;
mod auth;
mod config;
mod credential_provider;
mod cves;
mod early;
mod files;
mod floors;
mod guard;
mod identity;
mod metrics;
mod middleware;
mod oci;
mod policy;
mod portcullisctl;
mod programs;
mod rate;
mod readme;
mod reload;
mod revocation;
mod serve;
mod tls;
