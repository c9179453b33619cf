use std::fmt;
use std::io;
use std::path::PathBuf;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use crate::Watched;
use crate::reload::{Load, WatchOptions};
use crate::util::file::{self, KEY_SET};
use crate::util::text;

/// An issuer's public keys: a JWK Set (RFC 7517 §5).
pub struct KeySet {
    keys: Vec<Key>,
    /// Notified when a token names a key that is not here.
    #[cfg(feature = "jwt-fetch")]
    wanted: Option<std::sync::Arc<tokio::sync::Notify>>,
}

/// A public key and the one algorithm that it verifies.
pub(super) struct Key {
    id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// Why a key set cannot be used.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// The file cannot be read.
    #[error("{}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What is wrong with a file's content.
    #[error("{}: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: Box<KeySetError>,
    },
    /// They cannot be fetched.
    #[cfg(feature = "jwt-fetch")]
    #[error("{url}: {problem}")]
    Fetch {
        /// From where, without a query.
        url: String,
        /// Why not.
        problem: Box<str>,
    },
    /// An attacker on the way would choose the keys.
    #[cfg(feature = "jwt-fetch")]
    #[error("{url}: keys are fetched over https, or from this machine")]
    InTheClear {
        /// From where, without a query.
        url: String,
    },
    /// There is no CA certificate in the file that is to have those of the server.
    #[cfg(feature = "jwt-fetch")]
    #[error("{}: there is no PEM certificate in it that can be used", file.display())]
    NoCa {
        /// The file.
        file: PathBuf,
    },
    /// The file that is to have the server's CA certificates is not what PEM allows.
    #[cfg(feature = "jwt-fetch")]
    #[error("{}:{line}: {problem}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: Box<str>,
    },
    /// The file has no token that can stand in a header.
    #[cfg(feature = "jwt-fetch")]
    #[error("{}: there is no token in it", file.display())]
    NoToken {
        /// The file.
        file: PathBuf,
    },
    /// There is no thread to fetch with.
    #[cfg(feature = "jwt-fetch")]
    #[error("no thread to fetch keys with: {0}")]
    Runtime(io::Error),
    /// Not a JWK Set.
    #[error("not a JWK Set (RFC 7517): {0}")]
    Malformed(#[from] serde_json::Error),
    /// A key in it is of a known kind, but cannot be read.
    #[error("key {number} of the JWK Set {problem}")]
    Key {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No key in it is for signatures by an accepted algorithm.
    #[error("the JWK Set has no Ed25519, P-256 or RSA key for signatures")]
    NoKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a JWK Set. Keys of other kinds are left out, as RFC 7517 §5 wants; one of a kind that is known
    /// and lacks something is an error.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(json: &[u8]) -> Result<Self, KeySetError> {
        let document: Document = serde_json::from_slice(text::unmarked(json))?;
        let mut keys = Vec::new();
        for (number, value) in (1..).zip(document.keys) {
            keys.extend(Key::read(value).map_err(|problem| KeySetError::Key { number, problem })?);
        }
        if keys.is_empty() {
            return Err(KeySetError::NoKey);
        }
        Ok(Self {
            keys,
            #[cfg(feature = "jwt-fetch")]
            wanted: None,
        })
    }

    #[cfg(feature = "jwt-fetch")]
    pub(super) fn wanting(mut self, wanted: std::sync::Arc<tokio::sync::Notify>) -> Self {
        self.wanted = Some(wanted);
        self
    }

    /// Reads a file with a JWK Set, and again whenever it changes.
    ///
    /// # Errors
    /// What is wrong with it now.
    pub fn watch(
        file: impl Into<PathBuf>,
        options: WatchOptions,
    ) -> Result<Watched<Self>, KeySetError> {
        Watched::watch(File(file.into()), options)
    }

    /// What stands in the place of keys that have ended: no token counts by it.
    pub(super) fn ended() -> Self {
        Self {
            keys: Vec::new(),
            #[cfg(feature = "jwt-fetch")]
            wanted: None,
        }
    }

    /// The key with this id; without one, the only key there is.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&Key> {
        let found = match (id, self.keys.as_slice()) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        #[cfg(feature = "jwt-fetch")]
        if let (None, Some(wanted)) = (found, &self.wanted) {
            wanted.notify_one();
        }
        found
    }
}

impl Key {
    /// The key, unless it is one that is to be left out.
    fn read(value: serde_json::Value) -> Result<Option<Self>, &'static str> {
        check_members(&value)?;
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else {
            return Ok(None);
        };
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => return Ok(None),
        };
        let other_use = !matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        // The key may say which algorithm it is for (RFC 7517 §4.4).
        let named = jwk.common.key_algorithm.map(|named| named.to_string());
        let other = named.is_some_and(|named| named != format!("{algorithm:?}"));
        if other_use || other {
            return Ok(None);
        }
        let decoding = DecodingKey::from_jwk(&jwk);
        Ok(Some(Self {
            decoding: decoding.map_err(|_| "has a value that is not base64url")?,
            id: jwk.common.key_id,
            algorithm,
        }))
    }
}

/// Refuses a key of a known kind without what that kind must have (RFC 7518 §6, RFC 8037 §2).
fn check_members(key: &serde_json::Value) -> Result<(), &'static str> {
    let member = |name: &str| key.get(name).and_then(serde_json::Value::as_str);
    let (needed, lacks): (&[&str], _) = match member("kty") {
        None => return Err("has no kind (\"kty\")"),
        Some("RSA") => (&["n", "e"], "is RSA and lacks \"n\" or \"e\""),
        Some("EC") => (
            &["crv", "x", "y"],
            "is EC and lacks \"crv\", \"x\" or \"y\"",
        ),
        Some("OKP") => (&["crv", "x"], "is OKP and lacks \"crv\" or \"x\""),
        Some(_) => return Ok(()),
    };
    if needed.iter().all(|name| member(name).is_some()) {
        Ok(())
    } else {
        Err(lacks)
    }
}

struct File(PathBuf);

impl Load for File {
    type Value = KeySet;
    type Error = KeySetError;

    fn name(&self) -> &'static str {
        "jwt_keys"
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.0.clone()]
    }

    fn load(&mut self, _: Option<&KeySet>) -> Result<KeySet, KeySetError> {
        let json = file::read(&self.0, KEY_SET).map_err(|error| KeySetError::Unreadable {
            file: self.0.clone(),
            error,
        })?;
        KeySet::from_json(&json).map_err(|error| KeySetError::File {
            file: self.0.clone(),
            error: Box::new(error),
        })
    }

    fn lapsed(&mut self, _: &KeySet) -> Option<KeySet> {
        Some(KeySet::ended())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| key.id.as_deref());
        f.debug_list().entries(ids).finish()
    }
}
