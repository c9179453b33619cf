//! The server over real sockets.
#![cfg(all(feature = "serve", feature = "tls", feature = "aws-lc-rs"))]

mod attack;
mod bodies;
mod bounds;
mod closing;
mod deadlines;
mod denied;
mod drain;
mod outcomes;
mod panics;
mod support;
mod wiring;
