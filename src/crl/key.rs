use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;

use super::der::{self, Reader};
use crate::crypto;

/// A public key: `SubjectPublicKeyInfo`, the content of its SEQUENCE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Arc<[u8]>);

impl Key {
    pub(super) fn new(content: &[u8]) -> Self {
        Self(content.into())
    }

    /// What the key is if no signature can be checked by it.
    pub(super) fn unsupported(&self, algorithms: &WebPkiSupportedAlgorithms) -> Option<String> {
        crypto::unsupported_key(&der::encode(der::SEQUENCE, &self.0), algorithms)
    }

    /// A key that nothing is signed with.
    pub(super) fn none() -> Self {
        Self::new(&[])
    }

    /// Whether a signature is by this key and verified by one of these algorithms.
    pub(super) fn verifies(
        &self,
        algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> bool {
        let mut fields = Reader::new(&self.0);
        let (Ok(own), Ok(key)) = (fields.any(), fields.any()) else {
            return false;
        };
        let Ok(key) = key.octets() else {
            return false;
        };
        let key = crypto::PublicKey {
            algorithm: own.content,
            key,
        };
        key.verifies(algorithm, message, signature, algorithms) == Some(true)
    }
}
