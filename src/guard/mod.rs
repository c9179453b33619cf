//! The whole stack as one [`tower::Layer`].
//!
//! Order is a security property: the log must see a failed login, and no byte of a body may be read or sent
//! before network, credentials, revocation and policy have passed the request. [`Guard`] keeps that order: the
//! parts that are configured run in the one right order, parts that are not configured let every request pass,
//! and [`Guard::report`] describes in plain words which is which.

#[cfg(feature = "config")]
mod advice;
#[cfg(feature = "config")]
mod advice_credentials;
#[cfg(feature = "config")]
mod advice_networks;
#[cfg(feature = "config")]
mod advice_serving;
#[cfg(feature = "config")]
mod blame;
mod builder;
#[cfg(feature = "config")]
mod certificates;
mod checks;
#[cfg(feature = "config")]
mod config;
mod describe;
#[cfg(feature = "policy")]
mod describe_policy;
#[cfg(all(feature = "auth", feature = "policy"))]
mod groups;
#[cfg(feature = "config")]
mod listener;
#[cfg(feature = "config")]
mod problem;
mod report;
#[cfg(feature = "crl")]
mod requirements;
#[cfg(feature = "config")]
mod restart;
#[cfg(all(feature = "config", unix))]
mod secrets;
#[cfg(feature = "config")]
mod section;
mod security_warning;
mod service;
mod stack;

pub use builder::Builder;
#[cfg(feature = "config")]
pub use problem::Problem;
pub use report::Report;
pub use security_warning::SecurityWarning;
pub use service::Guarded;
pub use stack::Guard;
