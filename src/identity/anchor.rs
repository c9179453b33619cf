#[cfg(feature = "tls")]
use sha2::{Digest, Sha256};
#[cfg(feature = "tls")]
use x509_parser::prelude::X509Certificate;

#[cfg(feature = "tls")]
use crate::util::hex;

/// The client CA that a certificate's path was verified up to: one that the operator trusts, and not
/// only one of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    subject: Box<str>,
    key: Box<str>,
}

impl Anchor {
    #[cfg(feature = "tls")]
    pub(crate) fn of(certificate: &X509Certificate<'_>, subject: &str) -> Self {
        let key = Sha256::digest(certificate.public_key().raw);
        Self {
            subject: subject.into(),
            key: hex::encode(&key).into(),
        }
    }

    /// Its subject in RFC 4514 form.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// SHA-256 of its public key (the DER of `SubjectPublicKeyInfo`) in lower-case hexadecimal: what no
    /// CA of the same name has, and what stays when the CA renews its certificate.
    pub fn key_hex(&self) -> &str {
        &self.key
    }
}
