use rustls::crypto::aws_lc_rs;
use rustls::pki_types::SignatureVerificationAlgorithm;
use webpki::{BorrowedCertRevocationList, CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::lists::Sample;
use crate::{Cost, loading, looking};

/// The signature of a list, for readers that do not check it while they load: rustls does at each
/// handshake anew.
struct Signed {
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    fn new(sample: &Sample) -> Self {
        let (_, ca) = X509Certificate::from_der(&sample.ca).unwrap();
        let (_, list) = CertificateRevocationList::from_der(&sample.der).unwrap();
        Self {
            key: ca.public_key().subject_public_key.data.to_vec(),
            message: list.tbs_cert_list.as_ref().to_vec(),
            signature: list.signature_value.data.to_vec(),
        }
    }

    fn check(&self) {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let one_is = |algorithm: &&dyn SignatureVerificationAlgorithm| {
            let checked = algorithm.verify_signature(&self.key, &self.message, &self.signature);
            checked.is_ok()
        };
        let fitting = algorithms.all.iter().filter(|algorithm| {
            algorithm.signature_alg_id() == rustls::pki_types::alg_id::ECDSA_SHA256
                && algorithm.public_key_alg_id() == rustls::pki_types::alg_id::ECDSA_P256
        });
        assert!(fitting.copied().any(|algorithm| one_is(&algorithm)));
    }
}

/// rustls' own: a tree of the entries.
pub(crate) fn webpki_owned(sample: &Sample) -> Cost {
    webpki(sample, || {
        OwnedCertRevocationList::from_der(&sample.der)
            .unwrap()
            .into()
    })
}

/// The same without the tree: it reads the list from its beginning for each look-up.
pub(crate) fn webpki_borrowed(sample: &Sample) -> Cost {
    webpki(sample, || {
        BorrowedCertRevocationList::from_der(&sample.der)
            .unwrap()
            .into()
    })
}

fn webpki<'a>(sample: &'a Sample, load: impl Fn() -> CertRevocationList<'a>) -> Cost {
    cost(sample, load, |list, serial| {
        list.find_serial(serial).unwrap().is_some()
    })
}

/// x509-parser: a vector of the entries, looked through from its beginning.
pub(crate) fn x509_parser(sample: &Sample) -> Cost {
    let load = || CertificateRevocationList::from_der(&sample.der).unwrap().1;
    cost(sample, load, |list, serial| {
        let mut entries = list.iter_revoked_certificates();
        entries.any(|entry| entry.raw_serial() == serial)
    })
}

pub(crate) fn cost<L>(
    sample: &Sample,
    load: impl Fn() -> L,
    find: impl Fn(&L, &[u8]) -> bool,
) -> Cost {
    let signed = Signed::new(sample);
    let load_and_check = || {
        let list = load();
        signed.check();
        list
    };
    let (load, kept, peak, list) = loading(sample, load_and_check);
    Cost {
        load,
        kept,
        peak,
        hit: looking(&sample.revoked, |serial| find(&list, serial), true),
        miss: looking(&sample.good, |serial| find(&list, serial), false),
        searched: None,
    }
}
