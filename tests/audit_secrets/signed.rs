//! Tokens that others signed.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use portcullis::Watched;
use portcullis::auth::jwt::{Issuer, KeySet};
use rcgen::KeyPair;
use serde_json::json;

const NAME: &str = "https://auth.example.org";
const SERVICE: &str = "registry.example.org";

/// A good token, and one of the same claims that another key signed.
pub(crate) struct Tokens {
    good: String,
    forged: String,
}

/// Who signs them, and tokens.
pub(crate) fn issuer() -> (Issuer, Tokens) {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    // An uncompressed point: 4, x, y.
    let (x, y) = pair.public_key_raw()[1..].split_at(32);
    let [x, y] = [x, y].map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes));
    let keys = json!({ "keys": [{ "kid": "one", "kty": "EC", "crv": "P-256", "x": x, "y": y }] });
    let keys = KeySet::from_json(keys.to_string().as_bytes()).unwrap();
    let issuer = Issuer::of_registry_tokens(NAME, Watched::fixed(keys));
    let issuer = issuer.with_audiences([SERVICE]).unwrap();
    let stranger = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let tokens = Tokens {
        good: sign(&pair),
        forged: sign(&stranger),
    };
    (issuer, tokens)
}

fn sign(pair: &KeyPair) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = json!({
        "iss": NAME, "aud": SERVICE, "sub": "dave", "exp": now.as_secs() + 300,
        "access": [{ "type": "repository", "name": "library/a", "actions": ["pull", "push"] }],
    });
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("one".to_owned());
    // With both of its providers compiled it cannot choose one, and this is what the crate chooses.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let key = EncodingKey::from_ec_der(&pair.serialize_der());
    encode(&header, &claims, &key).unwrap()
}

impl Tokens {
    /// What is shown, and how it is answered.
    pub(crate) fn attempts(&self) -> [(String, u16); 2] {
        [(&self.good, 200), (&self.forged, 401)]
            .map(|(token, status)| (format!("Bearer {token}"), status))
    }

    /// What must not leak of a token: its claims, and the signature that makes it one.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = String> {
        let tokens = [&self.good, &self.forged].into_iter();
        tokens.flat_map(|token| token.split('.').skip(1).map(str::to_owned))
    }
}
