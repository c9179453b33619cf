use x509_parser::asn1_rs::{Any, FromDer};

use crate::util::der::{encode, magnitude};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// The orders of the curves P-256, P-384 and P-521 (SEC 2 §2.4 to §2.6), big-endian, the smallest first.
const ORDERS: [&[u8]; 3] = [
    b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\
    \x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
    \xff\xff\xc7\x63\x4d\x81\xf4\x37\x2d\xdf\x58\x1a\x0d\xb2\x48\xb0\xa7\x7a\xec\xec\x19\x6a\
    \xcc\xc5\x29\x73",
    b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
    \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfa\x51\x86\x87\x83\xbf\x2f\x96\x6b\x7f\xcc\
    \x01\x48\xf7\x09\xa5\xd0\x3b\xb5\xc9\xb8\x89\x9c\x47\xae\xbb\x6f\xb7\x1e\x91\x38\x64\x09",
];

/// `ecdsa-with-SHA2` (RFC 5758 §3.2) without its last octet, as an OBJECT IDENTIFIER.
const ECDSA_WITH_SHA2: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03";

/// The same certificate under the other signature that counts: of an ECDSA signature (r, s) anyone can make
/// (r, n - s) without the key. What is known of a certificate by its digest alone, signature included, is known of its
/// twin too. `None` if the signature is by another algorithm.
pub(super) fn twin(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, outer) = Any::from_der(certificate).ok()?;
    let (after, _) = Any::from_der(outer.data).ok()?;
    let (signature, algorithm) = Any::from_der(after).ok()?;
    if !algorithm.data.starts_with(ECDSA_WITH_SHA2) {
        return None;
    }
    let signed = &outer.data[..outer.data.len() - signature.len()];
    let (_, bits) = Any::from_der(signature).ok()?;
    let (_, pair) = Any::from_der(bits.data.strip_prefix(&[0])?).ok()?;
    let (s, r) = Any::from_der(pair.data).ok()?;
    let r_encoded = &pair.data[..pair.data.len() - s.len()];
    let (_, s) = Any::from_der(s).ok()?;
    let (r, s) = (magnitude(r.data), magnitude(s.data));
    // A number as small as to fit another curve is no accident of the larger one.
    let mut orders = ORDERS.iter();
    let order = orders.find(|order| is_less(r, order) && is_less(s, order))?;
    let other = encode(INTEGER, &positive(&difference(order, s)));
    let pair = encode(SEQUENCE, &[r_encoded, &other].concat());
    let bits = encode(BIT_STRING, &[&[0], &*pair].concat());
    Some(encode(SEQUENCE, &[signed, &bits].concat()))
}

fn is_less(one: &[u8], other: &[u8]) -> bool {
    (one.len(), one) < (other.len(), other)
}

/// Of two big-endian numbers, of which the first is the larger.
fn difference(larger: &[u8], smaller: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut smaller = smaller.iter().rev();
    let mut octets: Vec<u8> = larger
        .iter()
        .rev()
        .map(|octet| {
            let taken = i16::from(smaller.next().copied().unwrap_or(0)) + borrow;
            let left = i16::from(*octet) - taken;
            borrow = i16::from(left < 0);
            left.rem_euclid(256).to_le_bytes()[0]
        })
        .collect();
    octets.reverse();
    octets
}

/// The content of an INTEGER: as short as can be, and not negative (X.690 §8.3).
fn positive(number: &[u8]) -> Vec<u8> {
    let mut content = magnitude(number).to_vec();
    if content.first().is_none_or(|octet| *octet >= 0x80) {
        content.insert(0, 0);
    }
    content
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(["node.example".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_twin_is_another_certificate_of_the_same_content_and_its_twin_is_the_first() {
        let algorithms = [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
        ];
        for algorithm in algorithms {
            // Lengths differ by the numbers' leading octets.
            for _ in 0..200 {
                let certificate = certificate(algorithm);
                let twin = twin(&certificate).unwrap();
                assert_ne!(twin, certificate);
                assert_eq!(super::twin(&twin).unwrap(), certificate);
            }
        }
    }

    #[test]
    fn a_certificate_by_another_algorithm_has_none() {
        assert_eq!(twin(&certificate(&rcgen::PKCS_ED25519)), None);
        for cut in [&b""[..], b"0", b"0\x80", &[0x30; 40]] {
            assert_eq!(twin(cut), None, "{cut:?}");
        }
    }

    #[test]
    fn the_orders_are_those_of_the_curves_and_of_their_lengths() {
        assert_eq!(ORDERS.map(<[u8]>::len), [32, 48, 66]);
        for (order, last) in ORDERS.iter().zip([0x51, 0x73, 0x09]) {
            assert_eq!(order.last(), Some(&last));
        }
    }

    #[test]
    fn a_difference_borrows_through_zeros() {
        assert_eq!(difference(&[1, 0, 0], &[1]), [0, 255, 255]);
        assert_eq!(difference(&[2, 0], &[1, 255]), [0, 1]);
        assert_eq!(positive(&[0, 0]), [0]);
        assert_eq!(positive(&[0, 0x80]), [0, 0x80]);
    }
}
