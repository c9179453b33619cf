//! What the cryptography of the provider can check, by the names that operators know.

mod key;
mod signature;

pub(crate) use key::unsupported_key;
pub(crate) use signature::{is_supported, signature_name};
