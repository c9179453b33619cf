//! What the certificates say that a configuration names.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::X509Version;

use super::Problem;
use crate::PeerIdentity;
use crate::config::{Config, Key};
use crate::crl::CaInfo;
use crate::identity::Anchor;
use crate::reload::Pinned;
use crate::tls::certificates_in;

/// A certificate of `tls.client_ca`.
pub(super) struct ClientCa {
    pub(super) key: Key,
    pub(super) subject: Box<str>,
    /// The subject, DER.
    pub(super) name: Vec<u8>,
    /// What rules of revocation name it by.
    pub(super) info: CaInfo,
    /// What rules of identity name it by.
    anchor: Anchor,
}

/// Those that can be read; what cannot was an error before, or left out with a warning.
pub(super) fn client_cas(config: &Config) -> Vec<ClientCa> {
    let Some(tls) = &config.tls else {
        return Vec::new();
    };
    let files = tls.files(&config.document).into_iter();
    let files = files.filter(|(key, _)| key.name() == Some("client_ca"));
    let mut found = Vec::new();
    for (key, path) in files {
        let paths = match Pinned::new().list(&path) {
            Ok(files) => files,
            Err(_) => vec![path],
        };
        let certificates = paths.iter().flat_map(|path| certificates(path));
        found.extend(certificates.filter_map(|der| {
            let identity = PeerIdentity::from_der(&der).ok()?;
            let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
            // One of version 1 does not say what it is, and counts where its file is named.
            let is_one = certificate.is_ca() || certificate.version() == X509Version::V1;
            is_one.then(|| ClientCa {
                key: key.clone(),
                subject: identity.subject().into(),
                name: certificate.subject().as_raw().to_vec(),
                info: CaInfo::of(&certificate),
                anchor: Anchor::of(&certificate, identity.subject()),
            })
        }));
    }
    found
}

/// As the server reads them; of a file that has none, none.
fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    certificates_in(path).unwrap_or_default()
}

/// The server's own certificate in its file: in a bundle it may stand behind those of its CAs.
pub(super) fn first(path: &Path) -> Option<CertificateDer<'static>> {
    let mut found = certificates(path);
    let is_own = |der: &CertificateDer<'_>| {
        let parsed = x509_parser::parse_x509_certificate(der);
        parsed.is_ok_and(|(_, one)| !one.is_ca())
    };
    let own = found.iter().position(is_own).unwrap_or(0);
    (own < found.len()).then(|| found.swap_remove(own))
}

pub(super) fn not_for_servers(der: &[u8]) -> Option<Problem> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let usage = certificate.extended_key_usage().ok().flatten();
    let for_others = usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any);
    let names = certificate.subject_alternative_name().ok().flatten();
    let why = match names {
        _ if for_others => "its extended key usage lacks serverAuth",
        None => "it has no subjectAltName",
        Some(_) => return None,
    };
    let subject = PeerIdentity::from_der(der).ok()?;
    let subject = subject.subject().into();
    Some(Problem::NotForServers { subject, why })
}

pub(super) fn unknown_issuer(issuer: &str, cas: &[ClientCa]) -> Option<Problem> {
    if cas.is_empty() || cas.iter().any(|ca| *ca.subject == *issuer) {
        return None;
    }
    Some(Problem::UnknownIssuer {
        issuer: issuer.into(),
        known: cas.iter().map(|ca| format!("{:?}", ca.subject)).collect(),
    })
}

pub(super) fn unknown_key(key: &str, cas: &[ClientCa]) -> Option<Problem> {
    if cas.is_empty() || cas.iter().any(|ca| ca.anchor.key_hex() == key) {
        return None;
    }
    let known = |ca: &ClientCa| format!("{} of {:?}", ca.anchor.key_hex(), ca.subject);
    Some(Problem::UnknownAnchorKey {
        key: key.into(),
        known: cas.iter().map(known).collect(),
    })
}
