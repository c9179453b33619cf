#[cfg(feature = "tls")]
use sha2::{Digest, Sha256};
#[cfg(feature = "tls")]
use x509_parser::prelude::X509Certificate;

#[cfg(feature = "tls")]
use crate::util::hex;

/// The client CA that a certificate's path was verified up to: the very CA that the operator trusts, and not
/// only one of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
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

    /// Returns the CA's subject in RFC 4514 form.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the SHA-256 of the CA's public key (the DER of `SubjectPublicKeyInfo`) in lower-case
    /// hexadecimal: no other CA of the same name has it, and it stays when the CA renews its certificate.
    pub(crate) fn key_hex(&self) -> &str {
        &self.key
    }
}
