//! What the tests with real clients stand on: processes that end with their owner, an image, keys,
//! the built `mirror` example, and other people's programs.

// Each test program uses a part of it.
#![allow(dead_code)]

pub mod commands;
pub mod containerd;
pub mod cutter;
pub mod docker;
pub mod faulty;
pub mod gate;
pub mod image;
pub mod mirror;
pub mod namespace;
pub mod node;
pub mod pki;
pub mod process;
pub mod recorder;
pub mod secret;
pub mod shared_cache;
#[cfg(feature = "jwt")]
pub mod token_server;
pub mod upstream;
pub mod wait;
