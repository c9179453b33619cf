//! The mirror example as a program: its flags, its demo keys, its start and its end.
#![cfg(all(feature = "config", feature = "aws-lc-rs"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

#[path = "mirror_binary/bounds.rs"]
mod bounds;
#[path = "mirror_binary/check.rs"]
mod check;
#[path = "mirror_binary/crash.rs"]
mod crash;
#[path = "mirror_binary/demo.rs"]
mod demo;
#[path = "mirror_binary/drain.rs"]
mod drain;
#[path = "support/folder.rs"]
mod folder;
#[path = "mirror_binary/full.rs"]
mod full;
#[path = "mirror_binary/log.rs"]
mod log;
#[path = "mirror_binary/operate.rs"]
mod operate;
#[path = "pki/mod.rs"]
mod pki;
#[path = "mirror_binary/stuck.rs"]
mod stuck;
#[path = "mirror_binary/support.rs"]
mod support;
#[path = "mirror_binary/upstream.rs"]
mod upstream;
