use rustls::crypto::WebPkiSupportedAlgorithms;
use x509_parser::der_parser::Oid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// How many bits of an RSA modulus the providers check signatures by.
pub(crate) const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

pub(crate) const RSA: &str = "1.2.840.113549.1.1.1";
pub(crate) const RSA_PSS: &str = "1.2.840.113549.1.1.10";
pub(crate) const EC: &str = "1.2.840.10045.2.1";
pub(crate) const ED25519: &str = "1.3.101.112";
pub(crate) const ED448: &str = "1.3.101.113";
pub(crate) const DSA: &str = "1.2.840.10040.4.1";

const CURVES: [(&str, &str); 9] = [
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.132.0.33", "P-224"),
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
];

const KEYS: [(&str, &str); 5] = [
    (RSA_PSS, "an RSA key for RSASSA-PSS alone"),
    (DSA, "a DSA key"),
    (ED25519, "an Ed25519 key"),
    (ED448, "an Ed448 key"),
    (EC, "an EC key"),
];

/// What operators call a public key by which no signature can be checked, however it was made; `None` of
/// one that is supported. It is given as `SubjectPublicKeyInfo`, DER.
pub(crate) fn unsupported_key(
    key: &[u8],
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<String> {
    let Ok((_, key)) = SubjectPublicKeyInfo::from_der(key) else {
        return Some("a key that cannot be read".to_owned());
    };
    let oid = key.algorithm.algorithm.to_id_string();
    let bits = match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => Some(bits(rsa.modulus)),
        _ => None,
    };
    let mut all = algorithms.all.iter();
    let is_known = all.any(|one| is_of(&key, &one.public_key_alg_id()));
    if is_known && (oid != RSA || bits.is_some_and(|bits| RSA_BITS.contains(&bits))) {
        return None;
    }
    Some(match (bits, curve(&key)) {
        (Some(bits), _) => format!("an RSA key of {bits} bits"),
        (None, Some(curve)) => format!("an EC key on {curve}"),
        (None, None) => {
            let known = KEYS.iter().find(|(known, _)| *known == oid);
            known.map_or_else(
                || format!("a key of kind {oid}"),
                |(_, name)| (*name).to_owned(),
            )
        }
    })
}

/// Whether a key's `AlgorithmIdentifier` is the one with this content.
fn is_of(key: &SubjectPublicKeyInfo<'_>, content: &[u8]) -> bool {
    let Ok((parameters, oid)) = Oid::from_der(content) else {
        return false;
    };
    if oid != key.algorithm.algorithm {
        return false;
    }
    match Oid::from_der(parameters) {
        Ok((_, curve)) => {
            let own = key.algorithm.parameters.as_ref();
            own.and_then(|own| own.as_oid().ok()) == Some(curve)
        }
        // NULL, or nothing.
        Err(_) => true,
    }
}

fn curve(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    if key.algorithm.algorithm.to_id_string() != EC {
        return None;
    }
    let parameters = key.algorithm.parameters.as_ref()?;
    let oid = parameters.as_oid().ok()?.to_id_string();
    Some(curve_name(&oid).map_or_else(|| format!("curve {oid}"), str::to_owned))
}

/// Returns the name by which operators know the curve with this object identifier.
pub(crate) fn curve_name(oid: &str) -> Option<&'static str> {
    let known = CURVES.iter().find(|(known, _)| *known == oid);
    known.map(|(_, name)| *name)
}

fn bits(modulus: &[u8]) -> usize {
    let modulus = &modulus[modulus.iter().take_while(|octet| **octet == 0).count()..];
    let unused = modulus
        .first()
        .map_or(0, |first| first.leading_zeros() as usize);
    modulus.len() * 8 - unused
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use super::*;

    fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        match content.len() {
            short @ ..=0x7f => [&[tag, u8::try_from(short).unwrap()], content].concat(),
            _ => [&[tag, 0x82], &length[..], content].concat(),
        }
    }

    fn rsa(bits: usize) -> Vec<u8> {
        let mut modulus = vec![0x5a; bits.div_ceil(8)];
        modulus[0] = 0xff_u8 >> (modulus.len() * 8 - bits);
        if modulus[0] >= 0x80 {
            modulus.insert(0, 0);
        }
        let key = [encode(2, &modulus), encode(2, &[1, 0, 1])].concat();
        let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        key_of(algorithm, &encode(0x30, &key))
    }

    fn key_of(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        let key = encode(3, &[&[0], key].concat());
        encode(0x30, &[algorithm, &*key].concat())
    }

    fn ec(curve: &[u8]) -> Vec<u8> {
        let oids = [b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", curve].concat();
        key_of(&encode(0x30, &oids), &[4; 57])
    }

    #[test]
    fn keys_that_no_signature_can_be_checked_by_are_called_by_their_names() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let supported = provider.signature_verification_algorithms;
        for (key, name) in [
            (rsa(2_048), None),
            (rsa(8_192), None),
            (rsa(1_024), Some("an RSA key of 1024 bits")),
            (rsa(2_047), Some("an RSA key of 2047 bits")),
            (rsa(8_200), Some("an RSA key of 8200 bits")),
            (ec(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"), None),
            (ec(b"\x06\x05\x2b\x81\x04\x00\x22"), None),
            (
                ec(b"\x06\x05\x2b\x81\x04\x00\x21"),
                Some("an EC key on P-224"),
            ),
            (ec(b"\x06\x02\x2a\x03"), Some("an EC key on curve 1.2.3")),
            (key_of(b"\x30\x05\x06\x03\x2b\x65\x70", &[7; 32]), None),
            (
                key_of(b"\x30\x05\x06\x03\x2b\x65\x71", &[7; 57]),
                Some("an Ed448 key"),
            ),
            (b"\x30\x00".to_vec(), Some("a key that cannot be read")),
        ] {
            assert_eq!(unsupported_key(&key, &supported).as_deref(), name);
        }
    }
}
