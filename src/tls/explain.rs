use std::fmt::Write as _;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use webpki::Error as E;
use x509_parser::x509::X509Version;

use super::constraints::name_words;
use super::form::{malformed_words, unusable};
use super::key_kind::algorithm_words;
use super::keys::unsupported_key;
use super::quoted::{by, called, clip, leaf, links};
use super::rejection::{Cause, Rejection};
use super::time;
use super::verified::Verified;
use crate::PeerIdentity;
use crate::identity::IdentityError;
use crate::util::calendar;

/// No more certificates of a chain and no more names of a bundle are named than these: what a
/// client sends is not to fill a log.
const CERTIFICATES: usize = 6;
const NAMES: usize = 10;

/// What was wrong, in an operator's words.
pub(super) fn words(rejection: &Rejection) -> String {
    match &rejection.cause {
        Cause::Chain(beyond) => beyond.to_string(),
        Cause::Identity(error @ IdentityError::Malformed(_)) => malformed_words(rejection, error),
        Cause::Identity(error) => format!("{}: {error}", leaf(rejection)),
        Cause::Svid(error, identity) => svid_words(error, identity),
        Cause::TrustDomain(identity) => trust_domain_words(identity),
        Cause::Path(error) => path_words(rejection, error),
        Cause::AnchorEnded(anchor, now) => {
            let since = Duration::from_secs(now.as_secs().saturating_sub(anchor.not_after));
            format!(
                "the client CA `{}`, to which {} leads, expired {} ago, and no other leads there",
                clip(anchor.name.subject()),
                leaf(rejection),
                time::words(since)
            )
        }
        #[cfg(feature = "crl")]
        Cause::Revocation(verdict) => revocation_words(rejection, verdict),
        #[cfg(feature = "crl")]
        Cause::RevocationPath(error) => format!("{}: {error}", leaf(rejection)),
    }
}

fn svid_words(error: &IdentityError, identity: &PeerIdentity) -> String {
    let subject = clip(identity.name()).into_owned();
    format!("the client's certificate `{subject}` is no X.509-SVID, which is asked for: {error}")
}

fn trust_domain_words(identity: &PeerIdentity) -> String {
    let id = identity.spiffe_id().unwrap_or_default();
    let anchor = identity.anchor_subject().unwrap_or("none");
    format!(
        "the client's certificate has the SPIFFE ID `{}`, for whose trust domain its client CA `{}` \
         may not vouch",
        clip(id),
        clip(anchor)
    )
}

#[cfg(feature = "crl")]
fn revocation_words(rejection: &Rejection, verdict: &crate::crl::Verdict) -> String {
    use crate::crl::Verdict;
    match verdict {
        Verdict::Revoked {
            serial,
            date,
            reason,
            crl_number,
        } => {
            let (whose, issuer) = of_serial(rejection, serial);
            let date = calendar::rfc3339(*date);
            let number = crl_number.as_deref().unwrap_or("without a number");
            format!("{whose} was revoked on {date} ({reason}) by CRL {number} of `{issuer}`")
        }
        Verdict::Denied { serial, .. } if !serial.is_empty() => {
            let (whose, _) = of_serial(rejection, serial);
            verdict.described(&whose)
        }
        Verdict::Unknown { serial, cause } => {
            let (whose, issuer) = of_serial(rejection, serial);
            format!("whether {whose} is revoked by `{issuer}` is unknown: {cause}")
        }
        other => format!("{}: {other}", leaf(rejection)),
    }
}

/// The sent certificate with this serial number in hexadecimal, and its issuer.
#[cfg(feature = "crl")]
fn of_serial(rejection: &Rejection, serial: &str) -> (String, String) {
    let plain = |serial: &str| {
        let digits = serial.replace(':', "").to_ascii_lowercase();
        digits.trim_start_matches('0').to_owned()
    };
    let has_it = |one: &PeerIdentity| plain(one.serial()) == plain(serial);
    let sent = rejection.chain.iter();
    let found = sent.filter_map(|der| PeerIdentity::from_der(der).ok());
    let issuer = found.into_iter().find(has_it);
    let issuer = issuer.map_or_else(String::new, |one| clip(one.issuer()).into_owned());
    (by(rejection, has_it), issuer)
}

/// Each certificate that the client sent.
pub(super) fn presented(chain: &[CertificateDer<'_>], sent: usize) -> String {
    let mut text = String::new();
    for (at, der) in chain.iter().take(CERTIFICATES).enumerate() {
        if at > 0 {
            text.push_str("; ");
        }
        describe(&mut text, at, der);
    }
    if let Some(more @ 1..) = sent.checked_sub(CERTIFICATES) {
        let _ = write!(text, "; and {more} more");
    }
    text
}

/// The names from the client's certificate upwards as far as the sent certificates lead.
pub(super) fn attempted(rejection: &Rejection) -> String {
    let (links, missing) = links(&rejection.chain);
    let mut text = names_up(&links);
    match missing {
        Some(issuer) if rejection.anchors.subjects.contains(&issuer) => {
            let _ = write!(text, "client CA `{}`", clip(&issuer));
        }
        Some(issuer) => {
            let _ = write!(text, "`{}` (not found)", clip(&issuer));
        }
        None => text.push_str("a certificate that cannot be read"),
    }
    text
}

/// The same of a chain that leads to a client CA.
pub(super) fn verified(verified: &Verified) -> String {
    let (links, _) = links(&verified.chain);
    let mut text = names_up(&links);
    let _ = write!(text, "client CA `{}`", clip(verified.anchor.name.subject()));
    text
}

fn names_up(links: &[PeerIdentity]) -> String {
    let mut text = String::new();
    for link in links.iter().take(CERTIFICATES) {
        let _ = write!(text, "`{}` <- ", clip(link.subject()));
    }
    if let Some(more @ 1..) = links.len().checked_sub(CERTIFICATES) {
        let _ = write!(text, "{more} more <- ");
    }
    text
}

fn path_words(rejection: &Rejection, error: &E) -> String {
    match error {
        E::CertExpired { time, not_after } => {
            let since = time::system(*time)
                .duration_since(time::system(*not_after))
                .unwrap_or_default();
            let whose = by(rejection, |one| {
                time::seconds(one.not_after()) == not_after.as_secs()
            });
            format!("{whose} expired {} ago", time::words(since))
        }
        E::CertNotValidYet { time, not_before } => {
            let until = time::system(*not_before)
                .duration_since(time::system(*time))
                .unwrap_or_default();
            let whose = by(rejection, |one| {
                time::seconds(one.not_before()) == not_before.as_secs()
            });
            format!(
                "{whose} is not valid for another {}: is one of the clocks wrong?",
                time::words(until)
            )
        }
        E::UnknownIssuer => unknown_issuer(rejection),
        E::InvalidSignatureForPublicKey => {
            if let Some(words) = unsupported_key(rejection) {
                return words;
            }
            let (_, issuer) = links(&rejection.chain);
            let issuer = issuer.unwrap_or_default();
            if !rejection.anchors.subjects.contains(&issuer) {
                return format!(
                    "a signature on the path of {} is not by the key of the CA that it names",
                    leaf(rejection)
                );
            }
            format!(
                "{} names `{}` as its CA, but is not signed by the key of the one that is configured: \
                 was the CA made anew under its old name?",
                leaf(rejection),
                clip(&issuer)
            )
        }
        E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => format!(
            "clientAuth is missing in the extended key usage of {} or of a CA above it",
            leaf(rejection)
        ),
        E::NameConstraintViolation => name_words(rejection),
        E::PathLenConstraintViolated => format!(
            "the path of {} is longer than the basic constraints of a CA on it allow",
            leaf(rejection)
        ),
        E::CaUsedAsEndEntity => format!("{} is a CA's, not a client's", leaf(rejection)),
        E::EndEntityUsedAsCa => format!(
            "{} is signed by a certificate that is no CA",
            leaf(rejection)
        ),
        E::UnsupportedSignatureAlgorithmContext(context) => {
            let algorithm = algorithm_words(&context.signature_algorithm_id);
            format!(
                "{} or a CA above it is signed by {algorithm}, an algorithm that is not supported",
                leaf(rejection)
            )
        }
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => {
            unsupported_key(rejection).unwrap_or_else(|| {
                let algorithm = algorithm_words(&context.signature_algorithm_id);
                format!(
                    "{} or a CA above it is signed by {algorithm} with a kind of key for which that is not \
                     supported",
                    leaf(rejection)
                )
            })
        }
        E::UnsupportedCriticalExtension => format!(
            "{} or a CA above it has a critical extension that is not understood",
            leaf(rejection)
        ),
        E::UnsupportedCertVersion => {
            let is_older = |der: &CertificateDer<'_>| {
                PeerIdentity::parse(der).is_ok_and(|one| one.version() != X509Version::V3)
            };
            let whose = rejection.chain.iter().position(is_older);
            let whose = called(rejection, whose.unwrap_or_default());
            format!("{whose} is not of X.509 version 3")
        }
        E::MaximumPathBuildCallsExceeded
        | E::MaximumPathDepthExceeded
        | E::MaximumSignatureChecksExceeded
        | E::MaximumNameConstraintComparisonsExceeded => {
            format!(
                "the search for a path of {} took more work than is allowed: do several CAs on it have \
                 one name?",
                leaf(rejection)
            )
        }
        other => malformed_words(rejection, &unusable(other)),
    }
}

fn unknown_issuer(rejection: &Rejection) -> String {
    let subjects = &rejection.anchors.subjects;
    let (links, issuer) = links(&rejection.chain);
    let issuer = issuer.unwrap_or_default();
    if subjects.contains(&issuer) {
        return format!("no path leads from {} to a client CA", leaf(rejection));
    }
    let mut text = String::new();
    if links.last().is_some_and(|top| top.subject() == &*issuer) {
        let _ = write!(
            text,
            "{} ends at `{}`, which signed itself and is not configured",
            leaf(rejection),
            clip(&issuer)
        );
    } else {
        let _ = write!(
            text,
            "no client CA named `{}` is configured and the client sent none",
            clip(&issuer)
        );
    }
    text.push_str("; the bundle holds: ");
    for (at, subject) in subjects.iter().take(NAMES).enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        let _ = write!(text, "{comma}`{}`", clip(subject));
    }
    if let Some(more @ 1..) = subjects.len().checked_sub(NAMES) {
        let _ = write!(text, " and {more} more");
    }
    text
}

fn describe(text: &mut String, at: usize, der: &[u8]) {
    let identity = match PeerIdentity::from_der(der) {
        Ok(identity) => identity,
        Err(error) => {
            let _ = write!(text, "[{at}] {} bytes, unreadable: {error}", der.len());
            return;
        }
    };
    let _ = write!(
        text,
        "[{at}] subject `{}` issuer `{}` serial {} valid {} to {} names ",
        clip(identity.subject()),
        clip(identity.issuer()),
        clip(identity.serial()),
        calendar::rfc3339(identity.not_before()),
        calendar::rfc3339(identity.not_after()),
    );
    let names = identity
        .uris()
        .iter()
        .chain(identity.dns_names())
        .chain(identity.emails())
        .map(|name| clip(name).into_owned());
    let names: Vec<_> = names
        .chain(identity.ip_addresses().iter().map(ToString::to_string))
        .take(NAMES)
        .collect();
    let _ = write!(text, "{names:?} sha256 {}", identity.fingerprint_hex());
}
