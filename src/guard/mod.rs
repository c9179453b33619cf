//! The whole stack as one [`tower::Layer`].
//!
//! Order is a security property: a failed login must be seen by the log, and no byte of a body may be
//! read or sent before network, credentials, revocation and policy have said yes. [`Guard`] keeps it:
//! what is configured stands in the one right order, what is not configured lets everything pass, and
//! [`Guard::report`] says in plain words which is which.

#[cfg(feature = "config")]
mod advice;
#[cfg(feature = "config")]
mod blame;
mod builder;
#[cfg(feature = "config")]
mod certificates;
mod checks;
#[cfg(feature = "config")]
mod config;
mod danger;
#[cfg(all(feature = "auth", feature = "policy"))]
mod groups;
#[cfg(feature = "config")]
mod problem;
mod report;
#[cfg(feature = "crl")]
mod requirements;
#[cfg(all(feature = "config", unix))]
mod secrets;
mod service;
mod stack;
mod survey;

pub use builder::Builder;
pub use danger::Danger;
#[cfg(feature = "config")]
pub use problem::Problem;
pub use report::Report;
pub use service::Guarded;
pub use stack::Guard;
