use rustls::crypto::WebPkiSupportedAlgorithms;
use x509_parser::prelude::FromDer;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::AlgorithmIdentifier;

/// The signature algorithms that operators meet and that providers may lack.
const NAMES: [(&str, &str); 27] = [
    ("1.2.840.113549.1.1.2", "RSA with MD2"),
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.3.14.3.2.29", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
    ("1.2.840.113549.1.1.11", "RSA with SHA-256"),
    ("1.2.840.113549.1.1.12", "RSA with SHA-384"),
    ("1.2.840.113549.1.1.13", "RSA with SHA-512"),
    ("1.2.840.113549.1.1.14", "RSA with SHA-224"),
    ("1.2.840.10040.4.3", "DSA with SHA-1"),
    ("2.16.840.1.101.3.4.3.1", "DSA with SHA-224"),
    ("2.16.840.1.101.3.4.3.2", "DSA with SHA-256"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10045.4.3.1", "ECDSA with SHA-224"),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256"),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
    ("2.16.840.1.101.3.4.3.10", "ECDSA with SHA3-256"),
    ("2.16.840.1.101.3.4.3.11", "ECDSA with SHA3-384"),
    ("2.16.840.1.101.3.4.3.14", "RSA with SHA3-256"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.156.10197.1.501", "SM2 with SM3"),
    ("1.2.643.7.1.1.3.2", "GOST R 34.10-2012"),
];

const HASHES: [(&str, &str); 5] = [
    ("1.3.14.3.2.26", "SHA-1"),
    ("2.16.840.1.101.3.4.2.4", "SHA-224"),
    ("2.16.840.1.101.3.4.2.1", "SHA-256"),
    ("2.16.840.1.101.3.4.2.2", "SHA-384"),
    ("2.16.840.1.101.3.4.2.3", "SHA-512"),
];

/// Whether signatures by an algorithm can be checked, by keys of one kind at least. It is given as an
/// `AlgorithmIdentifier`, the content of the SEQUENCE.
pub(crate) fn is_supported(algorithms: &WebPkiSupportedAlgorithms, algorithm: &[u8]) -> bool {
    let mut all = algorithms.all.iter();
    all.any(|one| *one.signature_alg_id() == *algorithm)
}

/// What operators call a signature algorithm, with its object identifier. It is given as an
/// `AlgorithmIdentifier`, DER.
pub(crate) fn signature_name(algorithm: &[u8]) -> String {
    let Ok((_, read)) = AlgorithmIdentifier::from_der(algorithm) else {
        return "an algorithm that cannot be read".to_owned();
    };
    let oid = read.algorithm.to_id_string();
    if let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(&read) {
        let hash = parameters.hash_algorithm_oid().to_id_string();
        let hash = find(&HASHES, &hash).unwrap_or(&hash);
        let salt = parameters.salt_length();
        return format!("RSASSA-PSS with {hash} and a salt of {salt} octets ({oid})");
    }
    match find(&NAMES, &oid) {
        Some(name) => format!("{name} ({oid})"),
        None => oid,
    }
}

fn find(names: &[(&str, &'static str)], oid: &str) -> Option<&'static str> {
    let known = names.iter().find(|(known, _)| *known == oid);
    known.map(|(_, name)| *name)
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_called_by_their_names() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let supported = provider.signature_verification_algorithms;
        let sha_1 = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00";
        let sha_256 = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";
        // RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 222 octets, as OpenSSL makes it.
        let pss = b"\x30\x42\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x35\xa0\x0f\x30\x0d\x06\
            \x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\
            \xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\xa2\x04\
            \x02\x02\x00\xde";
        for (der, name, is_one) in [
            (&sha_1[..], "RSA with SHA-1 (1.2.840.113549.1.1.5)", false),
            (sha_256, "RSA with SHA-256 (1.2.840.113549.1.1.11)", true),
            (
                pss,
                "RSASSA-PSS with SHA-256 and a salt of 222 octets (1.2.840.113549.1.1.10)",
                false,
            ),
            (b"\x30\x04\x06\x02\x2a\x03", "1.2.3", false),
            (b"\x31\x00", "an algorithm that cannot be read", false),
        ] {
            assert_eq!(signature_name(der), name);
            assert_eq!(is_supported(&supported, &der[2..]), is_one, "{name}");
        }
    }
}
