//! Who may do what: rules, their decisions, and what a client and an operator see of them.
#![cfg(feature = "config")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests and their tables"
)]

mod covering;
mod decisions;
mod file;
mod index;
mod layer;
mod matrix;
mod support;
mod tags;
mod who;

mod binding;
mod binding_file;
