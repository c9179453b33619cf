//! Who the caller is.
//!
//! A [`PeerIdentity`] is what a verified client certificate says, parsed once a connection. A
//! [`Principal`] is the caller, however shown: authentication makes it from a credential or from a
//! `PeerIdentity`, puts it in the request's extensions, and everything after reads it there.

mod anchor;
#[cfg(feature = "x509")]
mod directory_string;
#[cfg_attr(
    not(feature = "x509"),
    allow(dead_code, reason = "names are read from certificates")
)]
mod distinguished_name;
#[cfg(feature = "x509")]
pub mod forwarded;
mod grants;
#[cfg(feature = "auth")]
mod mapping;
#[cfg(feature = "crl")]
mod name_match;
#[cfg_attr(
    not(feature = "x509"),
    allow(dead_code, reason = "names are read from certificates")
)]
mod names;
#[cfg_attr(
    not(feature = "x509"),
    allow(dead_code, reason = "an identity is read from a certificate")
)]
mod peer;
mod principal;
mod spiffe;
#[cfg(feature = "tls")]
mod subject_text;

pub use anchor::Anchor;
#[cfg(feature = "tls")]
pub(crate) use distinguished_name::text as name_text;
pub use grants::{Grant, Grants};
#[cfg(feature = "auth")]
pub use mapping::{Mapping, MappingError, Rule};
#[cfg(feature = "crl")]
pub(crate) use name_match::{NameKey, canonical};
pub use peer::{IdentityError, KeyType, PeerIdentity};
pub use principal::{Method, Principal};
pub use spiffe::{SpiffeId, SpiffeIdError, SvidError};
