use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

#[cfg(feature = "passwords")]
use argon2::password_hash::phc::PasswordHash;
#[cfg(feature = "passwords")]
use argon2::{Argon2, PasswordVerifier};
#[cfg(feature = "passwords")]
use bcrypt::HashParts;
use sha2::{Digest, Sha256};

use crate::util::hex;

/// All that is kept of a secret: SHA-256 of a generated token, bcrypt or Argon2id of a password.
///
/// As text it is `sha256:` and 64 hexadecimal digits (the prefix may be left out), a bcrypt hash
/// (`$2y$…`), or an Argon2id hash in PHC form (`$argon2id$…`).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SecretDigest(pub(super) HashKind);

#[cfg_attr(
    not(feature = "passwords"),
    allow(dead_code, reason = "no hash of a password is read then")
)]
#[derive(Clone, PartialEq, Eq)]
pub(super) enum HashKind {
    Sha256([u8; 32]),
    Slow(SlowHash),
}

/// Names a hash in the cache of verified passwords: its SHA-256.
pub(super) type HashName = [u8; 32];

/// A hash that takes tens of milliseconds to verify.
#[cfg_attr(
    not(feature = "passwords"),
    allow(dead_code, reason = "no hash of a password is read then")
)]
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SlowHash {
    text: Arc<str>,
    pub(super) cost: Cost,
    pub(super) name: HashName,
}

/// What a verification takes: as long with any hash of the same cost.
#[cfg_attr(
    not(feature = "passwords"),
    allow(dead_code, reason = "no hash of a password is read then")
)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    Bcrypt {
        log_rounds: u32,
    },
    Argon2id {
        memory: u32,
        passes: u32,
        lanes: u32,
    },
}

/// The longest password that bcrypt takes, in bytes: its 72 have a zero at the end.
#[cfg(feature = "passwords")]
const BCRYPT_LONGEST: usize = 71;

/// A text that is no digest which is accepted. Does not hold the text.
#[cfg_attr(
    not(feature = "passwords"),
    allow(dead_code, reason = "no hash of a password is read then")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DigestError {
    /// A hash of a kind that is refused: too fast for a password, or broken.
    #[error("{0} hashes are refused: use bcrypt or Argon2id")]
    Refused(&'static str),
    /// Of an accepted kind, but not well-formed.
    #[error("not a well-formed {0}")]
    Malformed(&'static str),
    /// It would protect no password.
    #[error(
        "the {0} hash is of a cost below 4, which bcrypt does not have: 10 and more protect a password"
    )]
    TooCheap(&'static str),
    /// To verify it would take minutes or gigabytes.
    #[error("the {0} hash is too costly to verify: at most cost 16, or 1 GiB and 64 passes")]
    TooCostly(&'static str),
    /// The digest of the empty text, as of a variable that is not set.
    #[error("the SHA-256 of nothing: was the variable that was hashed empty?")]
    OfNothing,
    /// A hash of a password, which this program was compiled without.
    #[cfg(not(feature = "passwords"))]
    #[error("hashes of passwords need the feature `passwords`")]
    NoPasswords,
    /// No digest at all.
    #[error("not a digest: \"sha256:\" and 64 hexadecimal digits, \"$2y$…\" or \"$argon2id$…\"")]
    Unknown,
}

impl SecretDigest {
    pub(super) fn of_token(token: &[u8]) -> Self {
        Self(HashKind::Sha256(Sha256::digest(token).into()))
    }
}

impl SlowHash {
    #[cfg(feature = "passwords")]
    fn new(text: &str, cost: Cost) -> Self {
        Self {
            text: text.into(),
            cost,
            name: Sha256::digest(text).into(),
        }
    }

    /// Whether it is of a kind that takes no password as long as this one.
    #[cfg(feature = "passwords")]
    pub(super) fn is_too_short_for(&self, password: &[u8]) -> bool {
        matches!(self.cost, Cost::Bcrypt { .. }) && password.len() > BCRYPT_LONGEST
    }

    /// Tens of milliseconds of work: not for an async worker.
    #[cfg(feature = "passwords")]
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self.cost {
            Cost::Bcrypt { .. } => {
                // A longer password than bcrypt takes is refused, and no sooner than another.
                let taken = &password[..password.len().min(BCRYPT_LONGEST)];
                let same = bcrypt::non_truncating_verify(taken, &self.text).unwrap_or(false);
                same && !self.is_too_short_for(password)
            }
            Cost::Argon2id { .. } => PasswordHash::new(&self.text)
                .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
        }
    }
}

#[cfg(not(feature = "passwords"))]
impl SlowHash {
    /// Without the feature no such hash is read, so there is none to verify.
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(super) fn verify(&self, _: &[u8]) -> bool {
        false
    }

    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(super) fn is_too_short_for(&self, _: &[u8]) -> bool {
        false
    }
}

impl FromStr for SecretDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::read(text)
    }
}

impl SecretDigest {
    pub(super) fn read(text: &str) -> Result<Self, DigestError> {
        if let Some(refused) = refused(text) {
            return Err(DigestError::Refused(refused));
        }
        if text.starts_with("$2") || text.starts_with("$argon2id$") {
            return slow(text).map(|hash| Self(HashKind::Slow(hash)));
        }
        let hexadecimal = match text.strip_prefix("sha256:") {
            Some(rest) => rest,
            None if text.len() == 64 => text,
            None => return Err(DigestError::Unknown),
        };
        let digest =
            hex::decode_array(hexadecimal).ok_or(DigestError::Malformed("SHA-256 digest"))?;
        if digest == <[u8; 32]>::from(Sha256::digest([])) {
            return Err(DigestError::OfNothing);
        }
        Ok(Self(HashKind::Sha256(digest)))
    }
}

fn refused(text: &str) -> Option<&'static str> {
    const REFUSED: [(&str, &str); 11] = [
        ("$apr1$", "MD5 (apr1)"),
        ("$1$", "MD5 (crypt)"),
        ("{SHA}", "SHA-1"),
        ("{SSHA}", "salted SHA-1"),
        ("$5$", "SHA-256 (crypt)"),
        ("$6$", "SHA-512 (crypt)"),
        ("$y$", "yescrypt"),
        ("$7$", "scrypt"),
        ("$argon2i$", "Argon2i"),
        ("$argon2d$", "Argon2d"),
        // Its way with characters above ASCII is broken.
        ("$2x$", "bcrypt 2x"),
    ];
    let found = REFUSED.iter().find(|(prefix, _)| text.starts_with(prefix));
    found.map(|(_, name)| *name)
}

#[cfg(feature = "passwords")]
fn slow(text: &str) -> Result<SlowHash, DigestError> {
    if text.starts_with("$argon2id$") {
        return argon2id(text);
    }
    let parts: HashParts = text.parse().map_err(|_| DigestError::Malformed("bcrypt"))?;
    let log_rounds = parts.get_cost();
    match log_rounds {
        4..=16 => Ok(SlowHash::new(text, Cost::Bcrypt { log_rounds })),
        0..4 => Err(DigestError::TooCheap("bcrypt")),
        _ => Err(DigestError::TooCostly("bcrypt")),
    }
}

#[cfg(not(feature = "passwords"))]
fn slow(_: &str) -> Result<SlowHash, DigestError> {
    Err(DigestError::NoPasswords)
}

#[cfg(feature = "passwords")]
fn argon2id(text: &str) -> Result<SlowHash, DigestError> {
    let malformed = DigestError::Malformed("Argon2id hash");
    let hash = PasswordHash::new(text).map_err(|_| malformed)?;
    let parameters = argon2::Params::try_from(&hash).map_err(|_| malformed)?;
    if hash.hash.is_none() || hash.salt.is_none() {
        return Err(malformed);
    }
    if parameters.m_cost() > 1024 * 1024 || parameters.t_cost() > 64 {
        return Err(DigestError::TooCostly("Argon2id"));
    }
    let cost = Cost::Argon2id {
        memory: parameters.m_cost(),
        passes: parameters.t_cost(),
        lanes: parameters.p_cost(),
    };
    Ok(SlowHash::new(text, cost))
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            HashKind::Sha256(_) => "SecretDigest(SHA-256)",
            HashKind::Slow(hash) => match hash.cost {
                Cost::Bcrypt { .. } => "SecretDigest(bcrypt)",
                Cost::Argon2id { .. } => "SecretDigest(Argon2id)",
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sha256_bcrypt_and_argon2id_are_taken() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let bcrypt = "$2y$12$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";
        let argon = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzYWx0$\
                     LE3v3zvRjRmB2HhQYGUyBHb4gdKzxIAu5U6uJ2y2T2A";
        let costliest = argon.replace("m=19456,t=2", "m=1048576,t=64");
        for good in [hex, &format!("sha256:{hex}"), bcrypt, argon, &costliest] {
            assert!(good.parse::<SecretDigest>().is_ok(), "{good}");
        }
        assert_eq!(SecretDigest::read(hex), Ok(SecretDigest::of_token(b"test")));
        for (bad, error) in [
            ("", DigestError::Unknown),
            ("test", DigestError::Unknown),
            ("sha256:9f", DigestError::Malformed("SHA-256 digest")),
            (
                &hex.replace('9', "g"),
                DigestError::Malformed("SHA-256 digest"),
            ),
            (&"é".repeat(32), DigestError::Malformed("SHA-256 digest")),
            ("$apr1$x$y", DigestError::Refused("MD5 (apr1)")),
            ("{SHA}x", DigestError::Refused("SHA-1")),
            ("$6$x$y", DigestError::Refused("SHA-512 (crypt)")),
            (
                "$argon2i$v=19$m=8,t=1,p=1$a$b",
                DigestError::Refused("Argon2i"),
            ),
            (&bcrypt[..59], DigestError::Malformed("bcrypt")),
            (
                &bcrypt.replace("$12$", "$31$"),
                DigestError::TooCostly("bcrypt"),
            ),
            (
                &bcrypt.replace("$12$", "$03$"),
                DigestError::TooCheap("bcrypt"),
            ),
            (
                &argon.replace("m=19456", "m=4194304"),
                DigestError::TooCostly("Argon2id"),
            ),
            (
                &argon.replace("m=19456", "m=1048577"),
                DigestError::TooCostly("Argon2id"),
            ),
            (
                &argon.replace("t=2", "t=65"),
                DigestError::TooCostly("Argon2id"),
            ),
            (
                "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzYWx0",
                DigestError::Malformed("Argon2id hash"),
            ),
        ] {
            assert_eq!(SecretDigest::read(bad), Err(error), "{bad}");
        }
    }

    #[test]
    fn a_password_that_bcrypt_would_cut_is_refused_no_sooner_than_another() {
        let longest = "x".repeat(BCRYPT_LONGEST);
        let hash = bcrypt::hash(&longest, 6).unwrap();
        let HashKind::Slow(hash) = hash.parse::<SecretDigest>().unwrap().0 else {
            panic!("bcrypt is slow");
        };
        assert!(hash.verify(longest.as_bytes()));
        let took = |password: &str| {
            let begun = std::time::Instant::now();
            assert!(!hash.verify(password.as_bytes()));
            begun.elapsed()
        };
        for length in [BCRYPT_LONGEST + 1, BCRYPT_LONGEST + 2, 500] {
            let long = "x".repeat(length);
            // In turns, and the shortest of each: what else runs on the machine takes time of both.
            let times = (0..20).map(|_| (took("wrong"), took(&long)));
            let shortest = times.reduce(|one, other| (one.0.min(other.0), one.1.min(other.1)));
            let (wrong, cut) = shortest.unwrap();
            // Without the hash it would be a thousandth.
            assert!(cut > wrong / 2, "{length}: {cut:?} and {wrong:?}");
        }
    }

    #[test]
    fn no_digest_is_shown_by_debug() {
        let digest = SecretDigest::of_token(b"test");
        assert_eq!(format!("{digest:?}"), "SecretDigest(SHA-256)");
    }
}
