//! The HTTP client that fetches CRLs and the keys of token issuers.
//!
//! The client sends requests only to the hosts that the operator names, follows redirects only to them, sends
//! conditional requests (RFC 9110 §13), and bounds the time and the size of each answer. [`HttpError`] is the
//! reason where there was no usable one.

pub(crate) mod address;
pub(crate) mod client;
mod error;

pub(crate) use error::HttpError;
