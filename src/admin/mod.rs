//! The operator's port: `/livez`, `/readyz` and `/metrics`, apart from the data port. See [`Admin`].

mod readiness;
mod service;

pub use readiness::{Check, Readiness};
pub use service::Admin;
