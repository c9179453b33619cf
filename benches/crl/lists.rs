use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, SigningKey,
};
use rustls::pki_types::CertificateDer;

use crate::serials::serial;

/// The most serial numbers of one list that are looked up.
const ASKED: usize = 200_000;

/// A signed CRL, and serial numbers that are on it and that are not.
pub(crate) struct Sample {
    pub(crate) entries: usize,
    pub(crate) der: Vec<u8>,
    pub(crate) ca: CertificateDer<'static>,
    /// A client's certificate of that CA, which is not on the list.
    pub(crate) client: CertificateDer<'static>,
    /// The CA's name, DER.
    pub(crate) issuer: Vec<u8>,
    pub(crate) revoked: Vec<[u8; 16]>,
    pub(crate) good: Vec<[u8; 16]>,
}

impl Sample {
    pub(crate) fn new(entries: usize) -> Self {
        let (params, key) = authority();
        let ca = params.self_signed(&key).unwrap().der().clone();
        let of_client = KeyPair::generate().unwrap();
        let client = CertificateParams::default()
            .signed_by(&of_client, &rcgen::Issuer::from_params(&params, &key))
            .unwrap();
        let (_, read) = x509_parser::parse_x509_certificate(&ca).unwrap();
        let issuer = read.subject().as_raw().to_vec();
        let serials: Vec<_> = (0..entries as u64).map(serial).collect();
        let unlisted = entries as u64..;
        Self {
            entries,
            der: signed(&issuer, &serials, &key),
            issuer,
            revoked: sampled(&serials),
            good: unlisted.take(ASKED.min(entries)).map(serial).collect(),
            ca,
            client: client.der().clone(),
        }
    }
}

/// A CA's name and use, and its key.
fn authority() -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Nodes 2026");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params, KeyPair::generate().unwrap())
}

/// A CA, its name in DER, and a list of these serial numbers that it signed.
pub(crate) fn list<S: AsRef<[u8]>>(serials: &[S]) -> (CertificateDer<'static>, Vec<u8>, Vec<u8>) {
    let (params, key) = authority();
    let ca = params.self_signed(&key).unwrap().der().clone();
    let (_, read) = x509_parser::parse_x509_certificate(&ca).unwrap();
    let issuer = read.subject().as_raw().to_vec();
    let der = signed(&issuer, serials, &key);
    (ca, issuer, der)
}

/// Spread over the whole list, not in the order of its entries.
pub(crate) fn sampled<S: Clone>(serials: &[S]) -> Vec<S> {
    let step = 7_919;
    let count = serials.len().min(ASKED);
    (0..count)
        .map(|at| serials[at * step % serials.len()].clone())
        .collect()
}

fn signed<S: AsRef<[u8]>>(issuer: &[u8], serials: &[S], key: &KeyPair) -> Vec<u8> {
    // ecdsa-with-SHA256 (RFC 5758 §3.2).
    let algorithm = encode(0x30, b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02");
    let mut entries = Vec::with_capacity(serials.len() * 48);
    for (at, serial) in serials.iter().enumerate() {
        let mut fields = encode(0x02, serial.as_ref());
        fields.extend(b"\x17\x0d250102030405Z");
        if at % 2 == 0 {
            fields.extend(b"\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01\x01");
        }
        entries.extend(encode(0x30, &fields));
    }
    let message = encode(
        0x30,
        &[
            b"\x02\x01\x01",
            &*algorithm,
            issuer,
            b"\x17\x0d250102030405Z",
            b"\x17\x0d490102030405Z",
            &encode(0x30, &entries),
            // CRLNumber 1.
            b"\xa0\x0e\x30\x0c\x30\x0a\x06\x03\x55\x1d\x14\x04\x03\x02\x01\x01",
        ]
        .concat(),
    );
    let mut signature = vec![0];
    signature.extend(key.sign(&message).unwrap());
    encode(
        0x30,
        &[message, algorithm, encode(0x03, &signature)].concat(),
    )
}

fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(content.len() + 6);
    encoded.push(tag);
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|&&octet| octet == 0).count()..];
    if content.len() >= 0x80 {
        encoded.push(0x80 | u8::try_from(length.len()).unwrap());
    }
    encoded.extend(if content.is_empty() { &[0] } else { length });
    encoded.extend(content);
    encoded
}
