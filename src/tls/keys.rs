//! Certificates whose keys are of a kind by which no signature is verified.

use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::key_kind::unsupported;
use super::quoted::{clip, leaf, links};
use super::rejection::Rejection;
use super::verified::Verified;
use crate::PeerIdentity;
use crate::identity::name_text;

/// Of a CA on the path by whose kind of key no signature is verified.
pub(super) fn unsupported_key(rejection: &Rejection) -> Option<String> {
    let told = |subject: &str, key: &SubjectPublicKeyInfo<'_>| {
        let key = unsupported(key)?;
        let subject = clip(subject);
        Some(format!(
            "no signature of `{subject}`, a CA above {}, can be verified: it has {key}",
            leaf(rejection)
        ))
    };
    let (links, issuer) = links(&rejection.chain);
    let issuer = issuer.unwrap_or_default();
    for der in rejection.anchors.keys(&issuer) {
        if let Ok((_, key)) = SubjectPublicKeyInfo::from_der(&der)
            && let Some(words) = told(&issuer, &key)
        {
            return Some(words);
        }
    }
    let read = rejection.chain.iter().skip(1);
    let mut read = read.filter_map(|der| PeerIdentity::parse(der).ok());
    read.find_map(|ca| {
        let subject = name_text(ca.subject().as_raw());
        let is_above = links.iter().any(|link| link.issuer() == subject);
        told(&subject, ca.public_key()).filter(|_| is_above)
    })
}

/// Of a client's own certificate, by whose kind of key it can prove nothing.
pub(super) fn no_proof(verified: &Verified) -> Option<String> {
    let certificate = PeerIdentity::parse(verified.chain.first()?).ok()?;
    let key = unsupported(certificate.public_key())?;
    let subject = clip(verified.identity.subject());
    Some(format!(
        "the client cannot prove that it holds the private key of its certificate `{subject}`: that has \
         {key}"
    ))
}
