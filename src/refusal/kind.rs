use http::StatusCode;

use super::Preset;
use crate::oci::{ErrorCode, RouteError};

/// Why a request was refused: one variant a reason.
///
/// `Display` is the operator's wording, for logs. The client sees [`Refusal::message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The client's network is not allowed.
    #[error("the client's network is not allowed")]
    SourceDenied,
    /// No credentials of any accepted kind came with the request.
    #[error("no credentials were sent")]
    CredentialsMissing,
    /// The `Authorization` header is not what RFC 7617 or RFC 6750 allow.
    #[error("the Authorization header is malformed")]
    CredentialsMalformed,
    /// No credential has this user and secret.
    #[error("the credentials are not known")]
    CredentialsUnknown,
    /// The credential is past its end.
    #[error("the credential has expired")]
    CredentialsExpired,
    /// The credential is not valid yet.
    #[error("the credential is not valid yet")]
    CredentialsNotYetValid,
    /// The credential may not be used from the client's network.
    #[error("the credential may not be used from this network")]
    CredentialsWrongNetwork,
    /// The credential is bound to a certificate identity that the connection does not have.
    #[error("the credential is bound to another identity")]
    CredentialsWrongIdentity,
    /// The token does not grant what the request needs.
    #[error("the token does not grant this")]
    ScopeInsufficient,
    /// A client certificate is needed and the connection has none.
    #[error("a client certificate is needed")]
    CertificateMissing,
    /// The client certificate, or one on its path, is revoked.
    #[error("the client certificate is revoked")]
    CertificateRevoked,
    /// The client certificate, or one on its path, is on the deny list.
    #[error("the client certificate is on the deny list")]
    CertificateDenied,
    /// The client certificate is outside its validity now.
    #[error("the client certificate has expired")]
    CertificateExpired,
    /// The client certificate that a proxy forwards cannot be read or verified.
    #[error("the client certificate that the proxy tells of is not valid")]
    CertificateInvalid,
    /// No usable CRL covers the client certificate.
    #[error("the revocation status of the client certificate is unknown")]
    RevocationUnknown,
    /// The request is for another host than the connection's TLS handshake.
    #[error("the request is for another host than the TLS handshake")]
    HostMismatch,
    /// The path is under `/v2/` but is no canonical OCI route.
    #[error("not an OCI route: {0}")]
    RouteInvalid(RouteError),
    /// The policy does not allow the request.
    #[error("the policy does not allow this")]
    PolicyDenied,
    /// The policy does not allow the request to an anonymous caller; with credentials it might.
    #[error("the policy does not allow this without credentials")]
    PolicyNeedsCredentials,
    /// Too many failed attempts came from this source or for this id.
    #[error("too many failed authentications")]
    AuthThrottled {
        /// Seconds until another attempt is looked at.
        retry_after: u32,
    },
    /// The wait for a byte-rate limit would pass its bound.
    #[error("the byte-rate limit is exhausted")]
    RateExceeded {
        /// Seconds until it is worth another try.
        retry_after: u32,
    },
    /// Too many transfers are in flight.
    #[error("too many transfers are under way")]
    StreamsExceeded {
        /// Seconds until it is worth another try.
        retry_after: u32,
    },
    /// The byte quota of the window is used up.
    #[error("the byte quota is used up")]
    QuotaExceeded {
        /// Seconds until the window ends.
        retry_after: u32,
    },
    /// Something that a decision needs is not there: what else would be refused might be allowed.
    #[error("a part of the gate is unavailable")]
    Unavailable,
    /// The request has no [`Connection`](crate::Connection), so that neither its certificate nor the revocation of it
    /// can be known.
    #[error(
        "a request came without its Connection, without which client certificates and their revocation cannot be \
         checked; requests are refused until it is there: serve by portcullis::serve::Server, or with axum by \
         Guard::make_service (or into_make_service_with_connect_info::<Connection>()), or wrap the service of each \
         connection into connection::AddConnection"
    )]
    NoConnection,
    /// Neither the request's [`Connection`](crate::Connection) nor its [`ClientAddr`](crate::ClientAddr) is known.
    #[error(
        "a request came without its Connection, so that its address is not known, without which networks cannot be \
         checked and failed logins not be throttled; requests are refused until it is there: serve by \
         portcullis::serve::Server, or with axum by Guard::make_service (or \
         into_make_service_with_connect_info::<Connection>()), or wrap the service of each connection into \
         connection::AddConnection"
    )]
    NoAddress,
    /// The path looks like one under `/v2/` of which the prefix was taken off, by axum's `Router::nest` for one.
    #[error(
        "the path of a request looks like one under /v2/ that has lost its prefix, so that it cannot be known what is \
         asked for; such requests are refused: put the guard around the whole router instead of into \
         `nest(\"/v2\", …)`, or tell it what was taken off by `base_path(\"/v2\")`. See docs/wiring.md"
    )]
    PathStripped,
}

impl Refusal {
    /// Returns which part of the server's wiring is missing, of three; the log says once a minute what to do about it.
    pub(crate) fn miswiring(self) -> Option<usize> {
        match self {
            Self::NoConnection => Some(0),
            Self::NoAddress => Some(1),
            Self::PathStripped => Some(2),
            _ => None,
        }
    }

    /// Returns the reason as a closed-set label, for metrics and log fields.
    pub fn label(&self) -> &'static str {
        match self {
            Self::SourceDenied => "source_denied",
            Self::CredentialsMissing => "credentials_missing",
            Self::CredentialsMalformed => "credentials_malformed",
            Self::CredentialsUnknown => "credentials_unknown",
            Self::CredentialsExpired => "credentials_expired",
            Self::CredentialsNotYetValid => "credentials_not_yet_valid",
            Self::CredentialsWrongNetwork => "credentials_wrong_network",
            Self::CredentialsWrongIdentity => "credentials_wrong_identity",
            Self::ScopeInsufficient => "scope_insufficient",
            Self::CertificateMissing => "certificate_missing",
            Self::CertificateRevoked => "certificate_revoked",
            Self::CertificateDenied => "certificate_denied",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateInvalid => "certificate_invalid",
            Self::RevocationUnknown => "revocation_unknown",
            Self::HostMismatch => "host_mismatch",
            Self::RouteInvalid(_) => "route_invalid",
            Self::PolicyDenied => "policy_denied",
            Self::PolicyNeedsCredentials => "policy_needs_credentials",
            Self::AuthThrottled { .. } => "auth_throttled",
            Self::RateExceeded { .. } => "rate_exceeded",
            Self::StreamsExceeded { .. } => "streams_exceeded",
            Self::QuotaExceeded { .. } => "quota_exceeded",
            Self::Unavailable => "unavailable",
            Self::NoConnection | Self::NoAddress | Self::PathStripped => "miswired",
        }
    }

    /// Returns the status of the answer. Shedding, a quota that is used up, and the throttle of failed
    /// authentications are 503 for [`Preset::Mirror`] and 429 for [`Preset::Registry`]: containerd repeats a
    /// 429 five times at once, but goes on to the next host after one 503.
    pub fn status(&self, preset: Preset) -> StatusCode {
        match self {
            Self::CredentialsMissing
            | Self::CredentialsMalformed
            | Self::CredentialsUnknown
            | Self::CredentialsExpired
            | Self::CredentialsNotYetValid
            | Self::CredentialsWrongNetwork
            | Self::CredentialsWrongIdentity
            // As the distribution token specification has it: clients then ask for a larger token.
            | Self::ScopeInsufficient
            | Self::CertificateMissing
            | Self::PolicyNeedsCredentials => StatusCode::UNAUTHORIZED,
            Self::SourceDenied
            | Self::CertificateRevoked
            | Self::CertificateDenied
            | Self::CertificateExpired
            | Self::CertificateInvalid
            | Self::RevocationUnknown
            | Self::PolicyDenied => StatusCode::FORBIDDEN,
            // RFC 9110 §15.5.20: the client may try again on another connection.
            Self::HostMismatch => StatusCode::MISDIRECTED_REQUEST,
            Self::RouteInvalid(error) => error.status(),
            Self::AuthThrottled { .. }
            | Self::RateExceeded { .. }
            | Self::StreamsExceeded { .. }
            | Self::QuotaExceeded { .. } => match preset {
                Preset::Mirror => StatusCode::SERVICE_UNAVAILABLE,
                Preset::Registry => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::Unavailable | Self::NoConnection | Self::NoAddress | Self::PathStripped => {
                StatusCode::SERVICE_UNAVAILABLE
            },
        }
    }

    /// Returns the OCI error code of the answer. go-containerregistry calls an error temporary only if all its
    /// codes are, so the code follows the status.
    pub fn code(&self, preset: Preset) -> ErrorCode {
        match self {
            Self::RouteInvalid(error) => error.code(),
            _ => match self.status(preset) {
                StatusCode::UNAUTHORIZED => ErrorCode::Unauthorized,
                StatusCode::TOO_MANY_REQUESTS => ErrorCode::TooManyRequests,
                StatusCode::SERVICE_UNAVAILABLE => ErrorCode::Unavailable,
                _ => ErrorCode::Denied,
            },
        }
    }

    /// Returns the message for the client, which does not distinguish one refused caller from another.
    pub fn message(&self, preset: Preset) -> &'static str {
        match self {
            Self::RouteInvalid(error) => error.message(),
            _ => self.code(preset).message(),
        }
    }

    /// `Allow`, where the method is what is wrong.
    pub(crate) fn allow(self) -> Option<&'static str> {
        match self {
            Self::RouteInvalid(error) => error.allow(),
            _ => None,
        }
    }

    /// Returns `Retry-After` in whole seconds, at least 1, for those refusals that pass by themselves.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::AuthThrottled { retry_after }
            | Self::RateExceeded { retry_after }
            | Self::StreamsExceeded { retry_after }
            | Self::QuotaExceeded { retry_after } => Some((*retry_after).max(1)),
            Self::Unavailable | Self::NoConnection | Self::NoAddress | Self::PathStripped => {
                Some(1)
            }
            _ => None,
        }
    }
}

impl From<RouteError> for Refusal {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Stripped => Self::PathStripped,
            error => Self::RouteInvalid(error),
        }
    }
}
