//! Who may do what: rules, their decisions, and what a client and an operator are told of them.
#![cfg(feature = "config")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests and their tables"
)]

mod captured;

#[path = "policy/covering.rs"]
mod covering;
#[path = "policy/decisions.rs"]
mod decisions;
#[path = "policy/file.rs"]
mod file;
#[path = "policy/index.rs"]
mod index;
#[path = "policy/layer.rs"]
mod layer;
#[path = "policy/matrix.rs"]
mod matrix;
#[path = "policy/support.rs"]
mod support;
#[path = "policy/tags.rs"]
mod tags;
#[path = "policy/who.rs"]
mod who;
