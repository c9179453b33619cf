use std::fmt;
use std::time::SystemTime;

use super::RevocationReason;
use crate::Refusal;
use crate::util::calendar;

/// What the CRLs say of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Every certificate that is looked at is covered by a current CRL and on none.
    Good,
    /// The operator denies one, by an entry of a deny list.
    #[non_exhaustive]
    Denied {
        /// Its serial number in lower-case hexadecimal with colons; empty of a client CA, whose key is denied.
        serial: String,
        /// What the entry names, as the list has it.
        subject: String,
        /// Since when, as the operator noted it.
        since: SystemTime,
        /// Why.
        reason: String,
        /// The file and the line of the entry.
        place: String,
    },
    /// One is revoked.
    #[non_exhaustive]
    Revoked {
        /// Its serial number in lower-case hexadecimal with colons, as
        /// [`PeerIdentity::serial`](crate::PeerIdentity::serial) has it.
        serial: String,
        /// When it was revoked.
        date: SystemTime,
        /// Why.
        reason: RevocationReason,
        /// The `CRLNumber` of the CRL in hexadecimal, if it has one.
        crl_number: Option<String>,
    },
    /// No usable CRL says whether one is revoked, and the options refuse that.
    #[non_exhaustive]
    Unknown {
        /// Its serial number in lower-case hexadecimal with colons, as
        /// [`PeerIdentity::serial`](crate::PeerIdentity::serial) has it.
        serial: String,
        /// Why no CRL answers for it.
        cause: UnknownCause,
    },
    /// No CRL says whether one is revoked, and the options allow that.
    #[non_exhaustive]
    UnknownAllowed {
        /// Its serial number in lower-case hexadecimal with colons, as
        /// [`PeerIdentity::serial`](crate::PeerIdentity::serial) has it.
        serial: String,
        /// Why no CRL answers for it.
        cause: UnknownCause,
    },
    /// No CRL says whether the client's own is revoked, and none has to: the certificate says that its CA publishes
    /// no revocation information (RFC 9608).
    NoRevAvail,
    /// No CRL says whether the client's own is revoked, and none has to: its whole validity is no longer than
    /// [`Options::short_lived`](super::Options::short_lived).
    ShortLived,
    /// A rule says that no CRL is asked for certificates of the client CA.
    NotAsked,
    /// One is past its end, or by a clock that was set back its time has not come.
    Expired,
}

/// What the CRLs say of one certificate of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Its subject in RFC 4514 form.
    pub subject: String,
    /// Its issuer in RFC 4514 form.
    pub issuer: String,
    /// Its serial number in lower-case hexadecimal with colons, as
    /// [`PeerIdentity::serial`](crate::PeerIdentity::serial) has it.
    pub serial: String,
    /// What they say.
    pub verdict: Verdict,
    /// The lists that say so: the one that revokes it, or those that together cover all reasons and
    /// do not, a delta after its base. A certificate of unknown status may have some that cover a part.
    pub decided_by: Vec<DecidingCrl>,
}

/// A CRL that answered for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecidingCrl {
    /// Its issuer in RFC 4514 form.
    pub issuer: String,
    /// What it is about: `complete` or `delta`, and what it is limited to.
    pub scope: String,
    /// Its `CRLNumber` in hexadecimal, if it has one.
    pub number: Option<String>,
    /// Its `thisUpdate`.
    pub this_update: SystemTime,
    /// Its `nextUpdate`.
    pub next_update: SystemTime,
}

/// Why no CRL answers for a certificate.
///
/// In order of how near to an answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownCause {
    /// There is none of its issuer, nor of the one that its distribution points name.
    #[error("no CRL of its issuer covers it: there is none")]
    NoCrl,
    /// Those there are of its issuer are about other certificates: other distribution points, other
    /// reasons, or CAs where it is a client's.
    #[error(
        "no CRL of its issuer covers it: those there are have other distribution points, other reasons, \
         or another kind of certificates in their scope"
    )]
    OtherScope,
    /// There is a delta CRL, and none that it is a delta to.
    #[error(
        "no CRL of its issuer covers it: there is a delta CRL, but not the complete one that it brings \
         up to date"
    )]
    NoBase,
    /// Those there are cover some reasons for a revocation and not all.
    #[error("the CRLs for it do not cover all reasons")]
    SomeReasons,
    /// The CRLs there are were signed by an unknown signer: no CA on the path and none of the further signers
    /// has the name of the CRL's issuer.
    #[error(
        "no CRL for it is signed by its issuer: no certificate of the signer is known, add it to the \
         further signers"
    )]
    SignerUnknown,
    /// Those there are name another key (`authorityKeyIdentifier`) than every known CA or signer of that
    /// name has.
    #[error(
        "no CRL for it is signed by its issuer: the authority key identifier names a key that no known \
         certificate of that name has, add one that has to the further signers"
    )]
    SignerOtherKey,
    /// Those there are name the key of a known CA or signer, and the signature is not by it.
    #[error(
        "no CRL for it is signed by its issuer: the signature is not by the key that it should be by, \
         the CRL is damaged, forged, or by another key of that name"
    )]
    NotSigned,
    /// Those there are are in the name of a CA or signer whose key usage lacks cRLSign.
    #[error(
        "no CRL for it is signed by its issuer: the signer may not sign CRLs, cRLSign is missing in its \
         key usage"
    )]
    SignerMayNotSign,
    /// Those there are are in the name of a CA or signer whose key is not supported, so that whether
    /// they are by it cannot be verified.
    #[error(
        "no CRL for it is signed by its issuer: the key that it should be signed by is of a kind or size \
         that is not supported"
    )]
    SignerUnsupported,
    /// Those there are were signed by a known signer that does not count: it is not certified under
    /// the path's client CA, or is revoked or of unknown status itself.
    #[error(
        "no CRL for it is signed by its issuer: the signer is known but not certified under the client \
         CA, or it is revoked, or no CRL says whether it is"
    )]
    SignerNotTrusted,
    /// Those there are begin in the future.
    #[error("the CRL for it is not valid yet")]
    NotYetValid,
    /// Those there are are past their `nextUpdate`.
    #[error("the CRL for it is past its next update")]
    CrlExpired,
    /// The files of all could not be read for [`stale_after`](crate::reload::WatchOptions::stale_after).
    #[error("the CRLs could not be read for too long")]
    Lapsed,
    /// The files of the deny list could not be used for
    /// [`stale_after`](crate::reload::WatchOptions::stale_after).
    #[error("the deny list could not be read for too long")]
    DenyListLapsed,
}

impl UnknownCause {
    /// Whether there is no list of the issuer's that is about the certificate, rather than one that
    /// does not count now.
    pub(super) fn is_without_answer(self) -> bool {
        !matches!(
            self,
            Self::NotYetValid | Self::CrlExpired | Self::Lapsed | Self::DenyListLapsed
        )
    }
}

impl Verdict {
    /// Returns the verdict as a closed-set label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Denied { .. } => "denied",
            Self::Revoked { .. } => "revoked",
            Self::Unknown { .. } => "unknown",
            Self::UnknownAllowed { .. } => "unknown_allowed",
            Self::NoRevAvail | Self::ShortLived | Self::NotAsked => "exempt",
            Self::Expired => "expired",
        }
    }

    /// Returns why no CRL has to answer, as a closed-set label; `None` of other verdicts.
    pub fn exemption(&self) -> Option<&'static str> {
        match self {
            Self::NoRevAvail => Some("no_rev_avail"),
            Self::ShortLived => Some("short_lived"),
            Self::NotAsked => Some("authority"),
            _ => None,
        }
    }

    /// Returns how a request on such a connection is refused, if it is.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Good
            | Self::UnknownAllowed { .. }
            | Self::NoRevAvail
            | Self::ShortLived
            | Self::NotAsked => None,
            Self::Denied { .. } => Some(Refusal::CertificateDenied),
            Self::Revoked { .. } => Some(Refusal::CertificateRevoked),
            Self::Unknown {
                cause: UnknownCause::Lapsed,
                ..
            } => Some(Refusal::Unavailable),
            Self::Unknown { .. } => Some(Refusal::RevocationUnknown),
            Self::Expired => Some(Refusal::CertificateExpired),
        }
    }

    /// The verdict on a certificate that is called in this way.
    pub(crate) fn described(&self, whose: &str) -> String {
        let Self::Denied {
            subject,
            since,
            reason,
            place,
            ..
        } = self
        else {
            return format!("{whose}: {self}");
        };
        let since = calendar::rfc3339(*since);
        format!("{whose} is denied since {since}: {reason} ({place}, {subject})")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("not revoked"),
            Self::Expired => {
                f.write_str("a certificate of the path has expired or is not valid yet")
            }
            Self::NoRevAvail => f.write_str(
                "no CRL needed: it says that there is no revocation information for it (noRevAvail)",
            ),
            Self::ShortLived => f.write_str("no CRL needed: it is short-lived"),
            Self::NotAsked => f.write_str(
                "no CRL needed: no CRL is asked for certificates of its client CA",
            ),
            Self::Denied { serial, .. } => {
                let whose = match serial.as_str() {
                    "" => "the client CA's key".to_owned(),
                    serial => format!("certificate {serial}"),
                };
                f.write_str(&self.described(&whose))
            }
            Self::Unknown { serial, cause } => write!(f, "certificate {serial}: {cause}"),
            Self::UnknownAllowed { serial, cause } => {
                write!(f, "certificate {serial}: {cause}, which is allowed")
            }
            Self::Revoked {
                serial,
                date,
                reason,
                crl_number,
            } => {
                let date = calendar::rfc3339(*date);
                write!(f, "certificate {serial} was revoked on {date} ({reason})")?;
                match crl_number {
                    Some(number) => write!(f, " by CRL {number}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A time in seconds after 1970, as RFC 3339 has it.
pub(super) fn date(seconds: u64) -> String {
    calendar::rfc3339(time(seconds))
}

/// Seconds after 1970 as a system's time.
pub(super) fn time(seconds: u64) -> SystemTime {
    calendar::system_time(i64::try_from(seconds).unwrap_or(i64::MAX))
}
