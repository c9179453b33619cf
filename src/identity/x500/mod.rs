//! The names of subjects and issuers (X.501 `Name`, RFC 5280 §4.1.2.4): one reader of their DER, one of
//! their text, and one text, that of RFC 4514.

#[cfg(feature = "crl")]
mod canonical;
mod directory_string;
#[cfg(feature = "crl")]
mod distinguished_name;
mod keyword;
mod name;
#[cfg(feature = "tls")]
mod parse;

#[cfg(feature = "crl")]
pub(crate) use canonical::{NameKey, canonical};
#[cfg(feature = "crl")]
pub(crate) use distinguished_name::DistinguishedName;
pub(super) use name::Name;
#[cfg(feature = "tls")]
pub(crate) use name::text;
