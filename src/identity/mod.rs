//! Who the caller is.
//!
//! A [`PeerIdentity`] is what a verified client certificate says, parsed once a connection. A
//! [`Principal`] is the caller, however shown: authentication makes it from a credential or from a
//! `PeerIdentity`, puts it in the request's extensions, and everything after reads it there.

mod peer;
mod principal;

pub use peer::{IdentityError, PeerIdentity};
pub use principal::{Method, Principal};
