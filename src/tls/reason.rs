use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

/// Why a handshake failed, as a closed set: metrics count by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The client sent no certificate and one is required.
    CertificateMissing,
    /// A certificate is past its end.
    CertificateExpired,
    /// A certificate is not valid yet.
    CertificateNotYetValid,
    /// No path leads from the certificate to a client CA.
    UnknownIssuer,
    /// The client CA that the path leads to has ended since it was loaded.
    ClientCaExpired,
    /// A certificate is not signed by the key of its issuer.
    BadSignature,
    /// The certificate is not for client authentication.
    WrongPurpose,
    /// The certificate is no X.509-SVID, and only such are accepted.
    NotAnSvid,
    /// The client CA does not vouch for the trust domain of the SPIFFE ID.
    TrustDomain,
    /// A name is outside what a CA on the path may sign.
    NameConstraints,
    /// The path is longer than a CA on it allows, or the search for it too costly.
    PathTooLong,
    /// The client sends more or larger certificates than are accepted.
    ChainTooLarge,
    /// A certificate that is no CA's signs another, or a CA's certificate is presented as a client's.
    CaMisuse,
    /// The algorithm of a signature, or the kind of a key, is not supported.
    UnsupportedAlgorithm,
    /// A certificate is not what RFC 5280 allows.
    CertificateMalformed,
    /// A certificate on the path is revoked.
    CertificateRevoked,
    /// A certificate on the path is on the deny list.
    CertificateDenied,
    /// No usable CRL covers a certificate on the path.
    RevocationUnknown,
    /// The CRL for a certificate on the path is past its next update.
    CrlExpired,
    /// The client does not hold the private key of the certificate that it sent.
    NoProofOfKey,
    /// The client does not speak TLS, but plain HTTP most likely.
    NotTls,
    /// Client and server have no TLS version in common.
    Version,
    /// Client and server have no cipher suite, group or signature scheme in common.
    NoCommonCipher,
    /// Client and server have no application protocol in common.
    NoCommonProtocol,
    /// The client ended the handshake with an alert.
    AlertReceived,
    /// The client's messages break the protocol.
    ProtocolViolation,
    /// The client closed the connection.
    Closed,
    /// The handshake took longer than allowed.
    TimedOut,
    /// It made room for another handshake, since as many as allowed were in flight.
    Overloaded,
    /// The source has as many connections as it may.
    TooManyConnections,
    /// The PROXY protocol header of a listed peer is missing or malformed.
    ProxyHeader,
    /// Something on the server's side failed.
    Internal,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 32] = [
        Self::CertificateMissing,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::UnknownIssuer,
        Self::ClientCaExpired,
        Self::BadSignature,
        Self::WrongPurpose,
        Self::NotAnSvid,
        Self::TrustDomain,
        Self::NameConstraints,
        Self::PathTooLong,
        Self::ChainTooLarge,
        Self::CaMisuse,
        Self::UnsupportedAlgorithm,
        Self::CertificateMalformed,
        Self::CertificateRevoked,
        Self::CertificateDenied,
        Self::RevocationUnknown,
        Self::CrlExpired,
        Self::NoProofOfKey,
        Self::NotTls,
        Self::Version,
        Self::NoCommonCipher,
        Self::NoCommonProtocol,
        Self::AlertReceived,
        Self::ProtocolViolation,
        Self::Closed,
        Self::TimedOut,
        Self::Overloaded,
        Self::TooManyConnections,
        Self::ProxyHeader,
        Self::Internal,
    ];

    /// Returns the reason as a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::CertificateMissing => "certificate_missing",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateNotYetValid => "certificate_not_yet_valid",
            Self::UnknownIssuer => "unknown_issuer",
            Self::ClientCaExpired => "client_ca_expired",
            Self::BadSignature => "bad_signature",
            Self::WrongPurpose => "wrong_purpose",
            Self::NotAnSvid => "not_an_svid",
            Self::TrustDomain => "trust_domain",
            Self::NameConstraints => "name_constraints",
            Self::PathTooLong => "path_too_long",
            Self::ChainTooLarge => "chain_too_large",
            Self::CaMisuse => "ca_misuse",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::CertificateMalformed => "certificate_malformed",
            Self::CertificateRevoked => "certificate_revoked",
            Self::CertificateDenied => "certificate_denied",
            Self::RevocationUnknown => "revocation_unknown",
            Self::CrlExpired => "crl_expired",
            Self::NoProofOfKey => "no_proof_of_key",
            Self::NotTls => "not_tls",
            Self::Version => "version",
            Self::NoCommonCipher => "no_common_cipher",
            Self::NoCommonProtocol => "no_common_protocol",
            Self::AlertReceived => "alert_received",
            Self::ProtocolViolation => "protocol_violation",
            Self::Closed => "closed",
            Self::TimedOut => "timed_out",
            Self::Overloaded => "overloaded",
            Self::TooManyConnections => "too_many_connections",
            Self::ProxyHeader => "proxy_header",
            Self::Internal => "internal",
        }
    }

    /// The reason behind an error that is not of the certificate's path.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::CertificateMissing,
            // The verifier reports its own refusals; what is left is the proof of the key.
            Error::InvalidCertificate(_) => Self::NoProofOfKey,
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            Error::PeerIncompatible(incompatible) => match incompatible {
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic => Self::Version,
                _ => Self::NoCommonCipher,
            },
            Error::NoApplicationProtocol => Self::NoCommonProtocol,
            Error::AlertReceived(_) => Self::AlertReceived,
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidMessage(_)
            | Error::DecryptError
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord => Self::ProtocolViolation,
            _ => Self::Internal,
        }
    }
}

/// The alert that rustls sends with an error, where it is bound to send one.
pub(super) fn alert(error: &Error) -> Option<AlertDescription> {
    Some(match error {
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::InvalidCertificate(error) => error.clone().into(),
        Error::InvalidMessage(error) => (*error).into(),
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        Error::PeerIncompatible(_) => match Reason::of(error) {
            Reason::Version => AlertDescription::ProtocolVersion,
            _ => AlertDescription::HandshakeFailure,
        },
        _ => return None,
    })
}
