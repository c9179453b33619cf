//! Kinds of public keys and algorithms by which no signature is verified.

use x509_parser::oid_registry::Oid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const RSA: &str = "1.2.840.113549.1.1.1";
const ELLIPTIC_CURVE: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
/// ML-DSA of three sizes (RFC 9881).
const ML_DSA: &str = "2.16.840.1.101.3.4.3.";

/// What about a key's kind keeps its signatures from being verified, after "it has"; `None` if its kind
/// is one that the built-in cryptography knows.
pub(super) fn unsupported(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let algorithm = key.algorithm.algorithm.to_id_string();
    match algorithm.as_str() {
        RSA => match key.parsed() {
            Ok(PublicKey::RSA(key)) if (2_048..=8_192).contains(&key.key_size()) => None,
            Ok(PublicKey::RSA(key)) => Some(format!(
                "an RSA key of {} bits, and from 2048 to 8192 bits are taken",
                key.key_size()
            )),
            _ => Some("an RSA key that cannot be read".to_owned()),
        },
        ELLIPTIC_CURVE => {
            let parameters = key.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|parameters| parameters.as_oid().ok());
            let curve = curve.map(|curve| curve.to_id_string());
            let named = match curve.as_deref() {
                // P-256, P-384 and P-521.
                Some("1.2.840.10045.3.1.7" | "1.3.132.0.34" | "1.3.132.0.35") => return None,
                Some("1.3.132.0.33") => "the curve P-224",
                Some("1.2.840.10045.3.1.1") => "the curve P-192",
                Some("1.3.132.0.10") => "the curve secp256k1",
                Some(other) if other.starts_with("1.3.36.3.3.2.8.1.1.") => "a Brainpool curve",
                Some(other) => &format!("the curve {other}"),
                None => "a curve without a name",
            };
            let taken = "P-256, P-384 and P-521 are taken";
            Some(format!("a key on {named}, and {taken}"))
        }
        ED25519 => None,
        other if other.starts_with(ML_DSA) => None,
        "1.3.101.113" => Some("an Ed448 key, which is not taken".to_owned()),
        "1.2.840.10040.4.1" => Some("a DSA key, which is not taken".to_owned()),
        // For RSASSA-PSS alone (RFC 4055 §1.2).
        "1.2.840.113549.1.1.10" => {
            Some("an RSA key that is for RSASSA-PSS alone, which is not taken".to_owned())
        }
        other => Some(format!(
            "a key of the algorithm {other}, which is not known"
        )),
    }
}

/// An algorithm by the content of its identifier.
pub(super) fn algorithm_words(identifier: &[u8]) -> String {
    let read = Oid::from_der(identifier);
    let Ok((_, oid)) = read else {
        return "an algorithm without a name".to_owned();
    };
    let oid = oid.to_id_string();
    let name = match oid.as_str() {
        "1.2.840.113549.1.1.4" => "MD5 with RSA",
        "1.2.840.113549.1.1.5" => "SHA-1 with RSA",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS with these parameters",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.1" => "ECDSA with SHA-224",
        "1.2.840.10040.4.3" => "DSA with SHA-1",
        "2.16.840.1.101.3.4.3.2" => "DSA with SHA-256",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        _ => return oid,
    };
    format!("{name} ({oid})")
}
