//! Who the caller is.
//!
//! A [`PeerIdentity`] is what a verified client certificate says, parsed once a connection. A
//! [`Principal`] is the caller, however shown: authentication makes it from a credential or from a
//! `PeerIdentity`, puts it in the request's extensions, and everything after reads it there.

mod anchor;
mod directory_string;
mod distinguished_name;
pub mod forwarded;
mod grants;
mod mapping;
#[cfg(feature = "crl")]
mod name_match;
mod names;
mod peer;
mod principal;
mod spiffe;
#[cfg(feature = "tls")]
mod subject_text;

pub use anchor::Anchor;
#[cfg(feature = "tls")]
pub(crate) use distinguished_name::text as name_text;
pub use grants::{Grant, Grants};
pub use mapping::{Mapping, MappingError, Rule};
#[cfg(feature = "crl")]
pub(crate) use name_match::{NameKey, canonical};
pub use peer::{IdentityError, KeyType, PeerIdentity};
pub use principal::{Method, Principal};
pub use spiffe::{SpiffeId, SpiffeIdError, SvidError};
