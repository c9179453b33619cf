//! Who the caller is.
//!
//! A [`PeerIdentity`] is what a verified client certificate says, parsed once a connection. A
//! [`Principal`] is the caller, however shown: authentication makes it from a credential or from a
//! `PeerIdentity`, puts it in the request's extensions, and everything after reads it there.

mod anchor;
mod error;
pub mod forwarded;
mod grants;
mod mapping;
mod names;
mod peer;
mod principal;
mod spiffe;
mod x500;

pub use anchor::Anchor;
pub use error::IdentityError;
pub use grants::{Grant, Grants};
pub use mapping::{Mapping, MappingError, Rule};
pub use peer::{KeyType, PeerIdentity};
pub use principal::{Method, Principal};
pub use spiffe::{SpiffeId, SpiffeIdError, SvidError};
#[cfg(feature = "tls")]
pub(crate) use x500::text as name_text;
#[cfg(feature = "crl")]
pub(crate) use x500::{DistinguishedName, NameKey, canonical};
