//! Who the caller is.
//!
//! A [`PeerIdentity`] is what a verified client certificate says, parsed once a connection. A
//! [`Principal`] is the caller, however shown: authentication makes it from a credential or from a
//! `PeerIdentity`, puts it in the request's extensions, and everything after reads it there.

mod anchor;
mod attribute;
mod error;
#[cfg_attr(
    not(feature = "x509"),
    allow(dead_code, reason = "fingerprints are those of certificates")
)]
mod fingerprints;
#[cfg(feature = "x509")]
pub mod forwarded;
#[cfg_attr(not(feature = "jwt"), allow(dead_code, reason = "signed tokens grant"))]
mod grants;
#[cfg(feature = "auth")]
mod mapping;
#[cfg(feature = "auth")]
mod mapping_error;
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
#[cfg_attr(
    not(feature = "x509"),
    allow(dead_code, reason = "an SVID is a certificate")
)]
mod spiffe;
#[cfg(feature = "x509")]
mod twin;
#[cfg(feature = "x509")]
mod x500;

#[cfg(feature = "tls")]
pub(crate) use anchor::Anchor;
pub use error::IdentityError;
#[cfg(feature = "crl")]
pub(crate) use fingerprints::Fingerprints;
pub(crate) use grants::Grants;
#[cfg(feature = "auth")]
pub use mapping::{Mapping, Rule};
#[cfg(feature = "config")]
pub(crate) use mapping_error::MappingError;
pub use peer::PeerIdentity;
pub use principal::{Method, Principal};
#[cfg(feature = "crl")]
pub(crate) use spiffe::SpiffeId;
#[cfg(feature = "tls")]
pub(crate) use x500::text as name_text;
#[cfg(feature = "crl")]
pub(crate) use x500::{DistinguishedName, NameKey, canonical};
