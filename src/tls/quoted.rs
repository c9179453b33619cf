//! How an explanation calls the certificates that a client sent.

use rustls::pki_types::CertificateDer;

use super::rejection::Rejection;
use crate::PeerIdentity;

/// No longer text of a client's is quoted.
const CHARACTERS: usize = 256;

/// The certificates from the client's up, each the issuer of the one before, and the issuer's name
/// that the last one gives.
pub(super) fn links(chain: &[CertificateDer<'_>]) -> (Vec<PeerIdentity>, Option<Box<str>>) {
    let mut rest: Vec<_> = chain
        .iter()
        .filter_map(|der| PeerIdentity::from_der(der).ok())
        .collect();
    let mut links: Vec<PeerIdentity> = Vec::new();
    if rest.is_empty() {
        return (links, None);
    }
    links.push(rest.remove(0));
    loop {
        let issuer = links.last().map(|last| Box::<str>::from(last.issuer()));
        let next = rest
            .iter()
            .position(|one| Some(one.subject()) == issuer.as_deref());
        match next {
            Some(next) => links.push(rest.remove(next)),
            None => return (links, issuer),
        }
    }
}

pub(super) fn leaf(rejection: &Rejection) -> String {
    called(rejection, 0)
}

/// The certificate at this place of the chain.
pub(super) fn called(rejection: &Rejection, at: usize) -> String {
    let whose = match at {
        0 => "the client's",
        _ => "the intermediate CA's",
    };
    let der = rejection.chain.get(at);
    match der.map(|der| PeerIdentity::from_der(der)) {
        Some(Ok(identity)) => format!("{whose} certificate `{}`", clip(identity.subject())),
        _ => format!("{whose} certificate"),
    }
}

pub(super) fn by(rejection: &Rejection, matches: impl Fn(&PeerIdentity) -> bool) -> String {
    let is_it = |der: &CertificateDer<'_>| PeerIdentity::from_der(der).is_ok_and(|it| matches(&it));
    match rejection.chain.iter().position(is_it) {
        Some(at) => called(rejection, at),
        None => "a certificate on the client's path".to_owned(),
    }
}

pub(super) fn clip(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
