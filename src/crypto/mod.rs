//! The provider's cryptography, and what it can check by the names that operators know.

#[cfg(feature = "tls")]
#[cfg_attr(
    not(feature = "crl"),
    allow(dead_code, reason = "the keys of CRLs are named as a whole")
)]
pub(crate) mod key;
mod provider;
#[cfg(feature = "crl")]
mod signature;
#[cfg(feature = "tls")]
mod verify;

#[cfg(feature = "crl")]
pub(crate) use key::unsupported_key;
pub(crate) use provider::provider;
#[cfg(feature = "crl")]
pub(crate) use signature::{is_supported, signature_name};
#[cfg(feature = "crl")]
pub(crate) use verify::PublicKey;
#[cfg(feature = "tls")]
pub(crate) use verify::is_issued_by;
