#[cfg(feature = "x509")]
use sha2::{Digest, Sha256};

#[cfg(feature = "x509")]
use super::twin::twin;

/// The SHA-256 under which a certificate may be known: its own, and that of its [`twin`](super::twin::twin), if it has one
/// and is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprints {
    own: [u8; 32],
    twin: Option<[u8; 32]>,
}

impl Fingerprints {
    /// Of a certificate, DER.
    #[cfg(feature = "x509")]
    pub(crate) fn of(certificate: &[u8]) -> Self {
        Self {
            own: Sha256::digest(certificate).into(),
            twin: twin(certificate).map(|twin| Sha256::digest(twin).into()),
        }
    }

    /// Of a certificate that is not at hand.
    #[cfg(feature = "tls")]
    pub(super) fn vouched(own: [u8; 32]) -> Self {
        Self { own, twin: None }
    }

    pub(super) fn own(&self) -> &[u8; 32] {
        &self.own
    }

    #[cfg(any(feature = "auth", feature = "crl"))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8; 32]> {
        std::iter::once(&self.own).chain(&self.twin)
    }
}
