use rustls::crypto::WebPkiSupportedAlgorithms;
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::prelude::X509Certificate;

/// A public key: the content of its `AlgorithmIdentifier`, and the bits.
#[derive(Clone, Copy)]
pub(crate) struct PublicKey<'a> {
    pub(crate) algorithm: &'a [u8],
    pub(crate) key: &'a [u8],
}

impl PublicKey<'_> {
    /// Returns whether a signature by the algorithm with this `AlgorithmIdentifier`'s content is by this key;
    /// `None` where none of the algorithms is for both.
    pub(crate) fn verifies(
        &self,
        algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Option<bool> {
        let all = algorithms.all.iter();
        let fitting = all.filter(|one| {
            *one.signature_alg_id() == *algorithm && *one.public_key_alg_id() == *self.algorithm
        });
        let mut verified =
            fitting.map(|one| one.verify_signature(self.key, message, signature).is_ok());
        let first = verified.next()?;
        Some(first || verified.any(|is| is))
    }
}

/// Returns whether the signature of a certificate is by the key of another; `None` where the provider has no
/// algorithm for it. `der` is what `certificate` was read from.
pub(crate) fn is_issued_by(
    der: &[u8],
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<bool> {
    // RFC 5280 §4.1: tbsCertificate, signatureAlgorithm, signatureValue.
    let content = Any::from_der(der).ok()?.1.data;
    let message = certificate.tbs_certificate.as_ref();
    let (_, algorithm) = Any::from_der(content.get(message.len()..)?).ok()?;
    let key = issuer.public_key();
    let (_, fields) = Any::from_der(key.raw).ok()?;
    let (_, of_key) = Any::from_der(fields.data).ok()?;
    let key = PublicKey {
        algorithm: of_key.data,
        key: &key.subject_public_key.data,
    };
    let signature = &certificate.signature_value.data;
    key.verifies(algorithm.data, message, signature, algorithms)
}
