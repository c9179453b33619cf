//! Kinds of public keys and algorithms by which no signature is verified.

use x509_parser::oid_registry::Oid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::crypto::key::{DSA, EC, ED448, ED25519, RSA, RSA_BITS, RSA_PSS, curve_name};

/// The curves of RFC 5639 that are not known by name.
const BRAINPOOL: &str = "1.3.36.3.3.2.8.1.1.";
/// ML-DSA of three sizes (RFC 9881).
const ML_DSA: &str = "2.16.840.1.101.3.4.3.";

/// What about a key's kind keeps its signatures from being verified, after "it has"; `None` if its kind
/// is one that the built-in cryptography knows.
pub(super) fn unsupported(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let algorithm = key.algorithm.algorithm.to_id_string();
    match algorithm.as_str() {
        RSA => match key.parsed() {
            Ok(PublicKey::RSA(key)) if RSA_BITS.contains(&key.key_size()) => None,
            Ok(PublicKey::RSA(key)) => Some(format!(
                "an RSA key of {} bits, and from 2048 to 8192 bits are taken",
                key.key_size()
            )),
            _ => Some("an RSA key that cannot be read".to_owned()),
        },
        EC => {
            let parameters = key.algorithm.parameters.as_ref();
            let curve = parameters.and_then(|parameters| parameters.as_oid().ok());
            let curve = curve.map(|curve| curve.to_id_string());
            let named = match curve
                .as_deref()
                .map(|curve| curve_name(curve).unwrap_or(curve))
            {
                Some("P-256" | "P-384" | "P-521") => return None,
                Some(curve) if curve.starts_with("brainpool") => "a Brainpool curve",
                Some(curve) if curve.starts_with(BRAINPOOL) => "a Brainpool curve",
                Some(curve) => &format!("the curve {curve}"),
                None => "a curve without a name",
            };
            let taken = "P-256, P-384 and P-521 are taken";
            Some(format!("a key on {named}, and {taken}"))
        }
        ED25519 => None,
        other if other.starts_with(ML_DSA) => None,
        ED448 => Some("an Ed448 key, which is not taken".to_owned()),
        DSA => Some("a DSA key, which is not taken".to_owned()),
        // For RSASSA-PSS alone (RFC 4055 §1.2).
        RSA_PSS => Some("an RSA key that is for RSASSA-PSS alone, which is not taken".to_owned()),
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
