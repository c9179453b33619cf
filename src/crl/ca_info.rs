use sha2::{Digest, Sha256};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::X509Certificate;

use super::certificate::signs_crls;
use crate::identity::NameKey;

/// What a client CA can be named by, and whether it may sign CRLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaInfo {
    pub(super) name: NameKey,
    /// SHA-256 of `SubjectPublicKeyInfo`.
    pub(super) key: [u8; 32],
    pub(super) key_ids: Vec<Box<[u8]>>,
    /// RFC 5280 §4.2.1.3.
    pub(super) signs_crls: bool,
}

impl CaInfo {
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let key_ids = certificate.extensions().iter();
        let key_ids = key_ids.filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.into()),
            _ => None,
        });
        Self {
            name: NameKey::of(certificate.subject().as_raw()),
            key: Sha256::digest(certificate.public_key().raw).into(),
            key_ids: key_ids.collect(),
            signs_crls: signs_crls(certificate),
        }
    }

    /// Of a trust anchor without its certificate: the subject's key, and `SubjectPublicKeyInfo` in DER.
    pub(super) fn of_anchor(name: NameKey, key: &[u8], signs_crls: bool) -> Self {
        Self {
            name,
            key: Sha256::digest(key).into(),
            key_ids: Vec::new(),
            signs_crls,
        }
    }

    /// Adds what another certificate of the same CA says.
    pub(super) fn merge(&mut self, other: &Self) {
        self.signs_crls |= other.signs_crls;
        for id in &other.key_ids {
            if !self.key_ids.contains(id) {
                self.key_ids.push(id.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_certificates_of_a_ca_say_together_what_it_is_and_may() {
        let of = |ids: &[&[u8]], signs_crls| CaInfo {
            key_ids: ids.iter().map(|id| (*id).into()).collect(),
            ..CaInfo::of_anchor(NameKey::written("CN=a").unwrap(), b"key", signs_crls)
        };
        for (one, other, signs) in [
            (false, false, false),
            (false, true, true),
            (true, false, true),
            (true, true, true),
        ] {
            let mut all = of(&[b"1", b"2"], one);
            all.merge(&of(&[b"2", b"3"], other));
            assert_eq!(all, of(&[b"1", b"2", b"3"], signs));
        }
    }
}
