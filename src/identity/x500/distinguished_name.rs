use std::fmt;
use std::hash::{Hash, Hasher};

use super::NameKey;

/// A `Name` that is compared by RFC 5280 §7.1: its key is computed once, where a CRL or a certificate is
/// read, so that no later comparison looks at the name again.
#[derive(Clone, Debug)]
pub(crate) struct DistinguishedName {
    der: Box<[u8]>,
    key: NameKey,
}

impl DistinguishedName {
    pub(crate) fn new(der: &[u8]) -> Self {
        Self {
            der: der.into(),
            key: NameKey::of(der),
        }
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn key(&self) -> NameKey {
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
        f.write_str(&super::text(&self.der))
    }
}
