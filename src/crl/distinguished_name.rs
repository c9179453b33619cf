use std::fmt;
use std::hash::{Hash, Hasher};

use x509_parser::prelude::{FromDer, X509Name};

use crate::identity::{NameKey, name_text};

/// A `Name` that is compared by RFC 5280 §7.1: its key is computed once, where a CRL or a certificate is
/// read, so that no later comparison looks at the name again.
#[derive(Clone, Debug)]
pub(super) struct DistinguishedName {
    der: Box<[u8]>,
    key: NameKey,
}

impl DistinguishedName {
    pub(super) fn new(der: &[u8]) -> Self {
        Self {
            der: der.into(),
            key: NameKey::of(der),
        }
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) fn key(&self) -> NameKey {
        self.key
    }
}

impl PartialEq for DistinguishedName {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for DistinguishedName {}

impl Hash for DistinguishedName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// In the form of RFC 4514, as everywhere.
impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match X509Name::from_der(&self.der) {
            Ok((_, name)) => f.write_str(&name_text(&name)),
            Err(_) => f.write_str("a name that cannot be read"),
        }
    }
}
