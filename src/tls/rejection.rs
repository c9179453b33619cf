use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error, OtherError};

use super::Reason;
use super::anchors::{Anchors, Known};
use super::chain::ChainTooLarge;
use crate::PeerIdentity;
#[cfg(feature = "crl")]
use crate::crl::{CrlError, UnknownCause, Verdict};
use crate::identity::IdentityError;

/// A client certificate that was not accepted, with all that an explanation needs.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    pub(super) cause: Cause,
    /// The first of what the client sent: no more is explained.
    pub(super) chain: Box<[CertificateDer<'static>]>,
    /// How many certificates the client sent.
    pub(super) sent: usize,
    pub(super) anchors: Arc<Anchors>,
}

/// No more certificates of a chain are kept for its explanation.
const KEPT: usize = 8;

/// What was wrong with it.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// Nothing of the chain was read.
    Chain(ChainTooLarge),
    Path(webpki::Error),
    /// The client CA that the path leads to has ended since it was loaded, at the time of this one.
    AnchorEnded(Arc<Known>, UnixTime),
    Identity(IdentityError),
    /// X.509-SVIDs are asked for.
    Svid(IdentityError, PeerIdentity),
    /// Its client CA does not vouch for the trust domain of its SPIFFE ID.
    TrustDomain(PeerIdentity),
    #[cfg(feature = "crl")]
    Revocation(Arc<Verdict>),
    #[cfg(feature = "crl")]
    RevocationPath(CrlError),
}

/// Whether the certificate is revoked cannot be determined. What is known of it is for the operator only.
#[derive(Debug, thiserror::Error)]
#[error("the certificate's revocation status cannot be determined")]
struct Undetermined;

impl Cause {
    /// Which of two causes, each of another path, an operator should hear of: the greater.
    pub(super) fn weight(&self) -> u8 {
        match self {
            #[cfg(feature = "crl")]
            Self::Revocation(verdict) => match &**verdict {
                Verdict::Denied { .. } | Verdict::Revoked { .. } => 4,
                _ => 3,
            },
            Self::AnchorEnded(..) => 1,
            Self::Chain(_) | Self::Path(_) => 0,
            _ => 2,
        }
    }
}

impl Rejection {
    pub(super) fn new(
        cause: Cause,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchors: Arc<Anchors>,
    ) -> Self {
        let chain = std::iter::once(end_entity).chain(intermediates);
        Self {
            cause,
            chain: chain
                .take(KEPT)
                .map(|der| der.clone().into_owned())
                .collect(),
            sent: 1 + intermediates.len(),
            anchors,
        }
    }

    pub(super) fn reason(&self) -> Reason {
        match &self.cause {
            Cause::Chain(_) => Reason::ChainTooLarge,
            Cause::Path(error) => path_reason(error),
            Cause::AnchorEnded(..) => Reason::ClientCaExpired,
            Cause::Identity(_) => Reason::CertificateMalformed,
            Cause::Svid(..) => Reason::NotAnSvid,
            Cause::TrustDomain(_) => Reason::TrustDomain,
            #[cfg(feature = "crl")]
            Cause::RevocationPath(CrlError::MayNotSign(_)) => Reason::CaMisuse,
            #[cfg(feature = "crl")]
            Cause::RevocationPath(_) => Reason::CertificateMalformed,
            #[cfg(feature = "crl")]
            Cause::Revocation(verdict) => match &**verdict {
                Verdict::Denied { .. } => Reason::CertificateDenied,
                Verdict::Revoked { .. } => Reason::CertificateRevoked,
                Verdict::Expired => Reason::CertificateExpired,
                Verdict::Unknown {
                    cause: UnknownCause::CrlExpired,
                    ..
                } => Reason::CrlExpired,
                _ => Reason::RevocationUnknown,
            },
        }
    }

    /// Returns the error for rustls, which chooses the alert by it.
    pub(super) fn error(&self) -> Error {
        CertificateError::into(match self.reason() {
            Reason::CertificateExpired => CertificateError::Expired,
            Reason::CertificateNotYetValid => CertificateError::NotValidYet,
            Reason::CertificateRevoked | Reason::CertificateDenied => CertificateError::Revoked,
            // RFC 8446 §6.2: `certificate_unknown` is for what no other alert names. The errors that
            // rustls has for these two would be sent as `unknown_ca`, as OpenSSL does, and have the
            // client's operator look for a CA that is not missing.
            Reason::RevocationUnknown | Reason::CrlExpired => {
                CertificateError::Other(OtherError(Arc::new(Undetermined)))
            }
            Reason::UnknownIssuer
            | Reason::ClientCaExpired
            | Reason::PathTooLong
            | Reason::CaMisuse => CertificateError::UnknownIssuer,
            Reason::BadSignature => CertificateError::BadSignature,
            Reason::WrongPurpose => CertificateError::InvalidPurpose,
            Reason::NameConstraints | Reason::NotAnSvid | Reason::TrustDomain => {
                CertificateError::ApplicationVerificationFailure
            }
            Reason::UnsupportedAlgorithm => {
                CertificateError::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: Vec::new(),
                    supported_algorithms: Vec::new(),
                }
            }
            _ => CertificateError::BadEncoding,
        })
    }
}

fn path_reason(error: &webpki::Error) -> Reason {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } => Reason::CertificateExpired,
        E::CertNotValidYet { .. } => Reason::CertificateNotYetValid,
        E::UnknownIssuer => Reason::UnknownIssuer,
        E::InvalidSignatureForPublicKey | E::SignatureAlgorithmMismatch => Reason::BadSignature,
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Reason::WrongPurpose,
        E::NameConstraintViolation | E::MaximumNameConstraintComparisonsExceeded => {
            Reason::NameConstraints
        }
        E::PathLenConstraintViolated
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded => Reason::PathTooLong,
        E::CaUsedAsEndEntity | E::EndEntityUsedAsCa => Reason::CaMisuse,
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Reason::UnsupportedAlgorithm,
        E::CertRevoked => Reason::CertificateRevoked,
        E::UnknownRevocationStatus => Reason::RevocationUnknown,
        E::CrlExpired { .. } => Reason::CrlExpired,
        _ => Reason::CertificateMalformed,
    }
}
