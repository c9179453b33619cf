use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::Validity;

use super::{CertificateFiles, TlsError, time};
use crate::PeerIdentity;
use crate::identity::name_text;
use crate::util::error_chain::chain;

/// A server certificate with its chain and key, and what its first certificate says.
type Own = (Arc<CertifiedKey>, PeerIdentity);

/// The server's own certificates as they were last good. One that cannot be read anew stays, whatever becomes of
/// the client CAs and the CRLs beside it: no client is let in by it, and without it no client is served.
#[derive(Debug, Default)]
pub(super) struct OwnCertificates {
    good: HashMap<PathBuf, Own>,
    refused: String,
    is_start: bool,
}

impl OwnCertificates {
    /// Begins a reading of all. At a start each must be good.
    pub(super) fn begin(&mut self, is_start: bool) {
        self.refused.clear();
        self.is_start = is_start;
    }

    /// Returns what `load` reads, which is given the last good one of the same files, or that one.
    pub(super) fn read(
        &mut self,
        files: &CertificateFiles,
        now: SystemTime,
        load: impl FnOnce(Option<&CertifiedKey>) -> Result<Own, TlsError>,
    ) -> Result<Own, TlsError> {
        let known = self.good.get(&files.chain);
        match (load(known.map(|(key, _)| key.as_ref())), known) {
            (Ok(own), known) => {
                if known.is_none_or(|(key, _)| key.cert != own.0.cert) {
                    warn_of_unrelated(files, &own.0.cert);
                    warn_of_ended(files, &own.0.cert, now);
                }
                self.good.insert(files.chain.clone(), own.clone());
                Ok(own)
            }
            (Err(error), Some(known)) if !self.is_start => {
                let known = known.clone();
                if !self.refused.is_empty() {
                    self.refused.push_str("; ");
                }
                // Writing to a string cannot fail.
                let _ = write!(self.refused, "{}", chain(&error));
                Ok(known)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Why some are not the newest.
    pub(super) fn refused(&self) -> Option<&str> {
        (!self.refused.is_empty()).then_some(&self.refused)
    }
}

/// Clients get all certificates of a chain file, also what has nothing to do with the first.
fn warn_of_unrelated(files: &CertificateFiles, sent: &[CertificateDer<'_>]) {
    for subject in unrelated(sent) {
        tracing::warn!(
            file = %files.chain.display(), subject,
            "the server's chain has a certificate that issued no other of the chain: it is sent to each client \
             for nothing, and an intermediate may be missing in its place. Take it out, or put the right one there"
        );
    }
}

/// A client that knows no other way to its CA than by the chain refuses the server.
fn warn_of_ended(files: &CertificateFiles, sent: &[CertificateDer<'_>], now: SystemTime) {
    for subject in ended(sent, now) {
        tracing::warn!(
            file = %files.chain.display(), subject,
            "an intermediate of the server's chain is not valid now, so that clients may refuse the server: put its \
             CA's newer certificate in its place"
        );
    }
}

/// The subjects of the intermediates that are not valid at this time.
fn ended(sent: &[CertificateDer<'_>], now: SystemTime) -> Vec<String> {
    let now = i64::try_from(time::seconds(now)).unwrap_or(i64::MAX);
    let read = sent.iter().skip(1);
    let read = read.filter_map(|der| PeerIdentity::parse(der).ok());
    let is_valid = |validity: &Validity| {
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now)
    };
    let ended = read.filter(|one| !is_valid(one.validity()));
    ended.map(|one| name_text(one.subject().as_raw())).collect()
}

/// The subjects of those that issued neither the first nor one that did.
fn unrelated(sent: &[CertificateDer<'_>]) -> Vec<String> {
    let parsed = sent.iter().map(|der| PeerIdentity::parse(der));
    // What cannot be read is an error elsewhere.
    let Ok(parsed) = parsed.collect::<Result<Vec<_>, _>>() else {
        return Vec::new();
    };
    let mut related = vec![false; parsed.len()];
    let mut next = parsed.first().map(|_| 0);
    while let Some(index) = next {
        related[index] = true;
        next = (0..parsed.len()).find(|&other| {
            let subject = parsed[other].subject().as_raw();
            let mut below = parsed.iter().zip(&related);
            let is_issuer = |(one, is): (&x509_parser::prelude::X509Certificate<'_>, &bool)| {
                *is && one.issuer().as_raw() == subject
            };
            !related[other] && below.any(is_issuer)
        });
    }
    let left = sent.iter().zip(related).filter(|(_, is)| !is);
    left.map(|(der, _)| {
        PeerIdentity::from_der(der).map_or_else(
            |_| "a certificate that is none of a client".to_owned(),
            |one| one.subject().to_owned(),
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    #[test]
    fn a_certificate_that_issued_none_of_its_chain_is_named_and_order_does_not_count() {
        let key = || KeyPair::generate().unwrap();
        let root = Issuer::new(params("root"), key());
        let root_der = params("root").self_signed(root.key()).unwrap();
        let between = Issuer::new(params("between"), key());
        let between_der = params("between").signed_by(between.key(), &root).unwrap();
        let leaf = params("leaf").signed_by(&key(), &between).unwrap();
        let other = params("other").self_signed(&key()).unwrap();
        let [leaf, between, root, other] =
            [leaf, between_der, root_der, other].map(|one| one.der().clone());
        for (chain, left) in [
            (vec![&leaf], vec![]),
            (vec![&leaf, &between], vec![]),
            (vec![&leaf, &root, &between], vec![]),
            (vec![&leaf, &between, &other, &root], vec!["CN=other"]),
            (vec![&leaf, &root], vec!["CN=root"]),
        ] {
            let chain: Vec<_> = chain.into_iter().cloned().collect();
            assert_eq!(unrelated(&chain), left);
        }
    }

    #[test]
    fn an_intermediate_that_is_not_valid_now_is_named_and_the_servers_own_is_not() {
        let key = || KeyPair::generate().unwrap();
        let made = |name: &str, days: [i64; 2]| {
            let mut params = params(name);
            let now = ::time::OffsetDateTime::now_utc();
            [params.not_before, params.not_after] =
                days.map(|days| now + ::time::Duration::days(days));
            params.self_signed(&key()).unwrap().der().clone()
        };
        let (good, over, ahead) = (
            made("good", [-2, 2]),
            made("over", [-2, -1]),
            made("ahead", [1, 2]),
        );
        let now = SystemTime::now();
        assert_eq!(ended(&[over.clone(), good.clone()], now), [""; 0]);
        assert_eq!(ended(&[good, over, ahead], now), ["CN=over", "CN=ahead"]);
    }
}
