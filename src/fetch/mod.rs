//! The HTTP client that fetches CRLs and the keys of token issuers.
//!
//! It asks only the hosts that the operator names, follows redirects only to them, sends conditional
//! requests (RFC 9110 §13), and bounds the time and the size of each answer. [`HttpError`] says why there
//! was none.

pub(crate) mod address;
pub(crate) mod client;
mod error;

pub use error::HttpError;
