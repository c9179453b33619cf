use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::public_key::{why_not_ed25519, why_not_p256, why_not_rsa};

/// A public key and the one algorithm that it verifies.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The text for a key of a JWK Set by which no token is verified.
pub(super) fn unusable(number: usize, id: Option<&str>, why: impl fmt::Display) -> Box<str> {
    let id = id.map_or_else(String::new, |id| format!(" (kid {id:?})"));
    format!("key {number}{id} {why}").into()
}

impl Key {
    /// The key, or why it is left out (RFC 7517 §5); an error if it is of a known kind and lacks what that must
    /// have.
    pub(super) fn read(
        number: usize,
        value: &Value,
    ) -> Result<Result<Self, Box<str>>, &'static str> {
        let members = Members(value);
        members.check()?;
        let id = members.text("kid").map(str::to_owned);
        let unusable = |why: String| unusable(number, id.as_deref(), why);
        let algorithm = match members.algorithm() {
            Ok(algorithm) => algorithm,
            Err(why) => return Ok(Err(unusable(why))),
        };
        if let Some(why) = members.why_unusable(algorithm)? {
            return Ok(Err(unusable(why)));
        }
        let decoding = if algorithm == Algorithm::RS256 {
            // Some issuers write zeros before the modulus, which RFC 7518 §6.3.1.1 forbids and not every provider
            // takes.
            let [modulus, exponent] = [members.octets("n")?, members.octets("e")?];
            DecodingKey::from_rsa_raw_components(unpadded(&modulus), unpadded(&exponent))
        } else {
            let jwk = match serde_json::from_value::<Jwk>(value.clone()) {
                Ok(jwk) => jwk,
                Err(error) => return Ok(Err(unusable(format!("cannot be read: {error}")))),
            };
            DecodingKey::from_jwk(&jwk).map_err(|_| NOT_BASE64URL)?
        };
        Ok(Ok(Self {
            id,
            algorithm,
            decoding,
        }))
    }
}

/// A number without the zeros before it.
fn unpadded(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|&&octet| octet == 0).count();
    &octets[zeros..]
}

const NOT_BASE64URL: &str = "has a value that is not base64url";

/// The members of a JWK.
struct Members<'a>(&'a Value);

impl<'a> Members<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str)
    }

    fn octets(&self, name: &str) -> Result<Vec<u8>, &'static str> {
        let text = self.text(name).unwrap_or_default();
        BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| NOT_BASE64URL)
    }

    /// Refuses a key of a known kind without what that kind must have (RFC 7518 §6, RFC 8037 §2).
    fn check(&self) -> Result<(), &'static str> {
        let (needed, lacks): (&[&str], _) = match self.text("kty") {
            None => return Err("has no kind (\"kty\")"),
            Some("RSA") => (&["n", "e"], "is RSA and lacks \"n\" or \"e\""),
            Some("EC") => (
                &["crv", "x", "y"],
                "is EC and lacks \"crv\", \"x\" or \"y\"",
            ),
            Some("OKP") => (&["crv", "x"], "is OKP and lacks \"crv\" or \"x\""),
            Some(_) => return Ok(()),
        };
        if needed.iter().all(|name| self.text(name).is_some()) {
            Ok(())
        } else {
            Err(lacks)
        }
    }

    /// The one algorithm that keys of its kind verify, or why there is none.
    fn algorithm(&self) -> Result<Algorithm, String> {
        let kind = self.text("kty").unwrap_or_default();
        match (kind, self.text("crv")) {
            ("RSA", _) => Ok(Algorithm::RS256),
            ("EC", Some("P-256")) => Ok(Algorithm::ES256),
            ("OKP", Some("Ed25519")) => Ok(Algorithm::EdDSA),
            ("EC" | "OKP", Some(curve)) => Err(format!(
                "is on the curve {curve:?}, and P-256 and Ed25519 are supported"
            )),
            _ => Err(format!(
                "is of the kind {kind:?}, and RSA, EC and OKP are supported"
            )),
        }
    }

    /// Why no token is verified by the key, if so.
    fn why_unusable(&self, algorithm: Algorithm) -> Result<Option<String>, &'static str> {
        // RFC 7518 §6.2.2 and §6.3.2, RFC 8037 §2.
        let private = ["d", "p", "q", "dp", "dq", "qi", "oth"];
        if private.iter().any(|name| self.0.get(name).is_some()) {
            return Ok(Some(
                "has its private part beside the public one, by which all who read the set can sign: have the issuer \
                 make a new key"
                    .to_owned(),
            ));
        }
        // What a key is for it may say (RFC 7517 §4.2 to §4.4).
        let other = |name: &str, expected: &str| {
            let found = self.0.get(name).filter(|found| !found.is_null())?;
            (found.as_str() != Some(expected)).then(|| found.to_string())
        };
        if let Some(other) = other("use", "sig") {
            return Ok(Some(format!("is for the use {other}, not for signatures")));
        }
        let expected = format!("{algorithm:?}");
        if let Some(other) = other("alg", &expected) {
            return Ok(Some(format!(
                "is for the algorithm {other}, and of a key of its kind {expected} is supported"
            )));
        }
        let operations = self.0.get("key_ops").and_then(Value::as_array);
        if operations.is_some_and(|all| !all.iter().any(|one| one == "verify")) {
            return Ok(Some("has \"key_ops\" without \"verify\"".to_owned()));
        }
        Ok(match algorithm {
            Algorithm::RS256 => why_not_rsa(&self.octets("n")?, &self.octets("e")?),
            Algorithm::ES256 => why_not_p256(&self.octets("x")?, &self.octets("y")?),
            _ => why_not_ed25519(&self.octets("x")?),
        })
    }
}
