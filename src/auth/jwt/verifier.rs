use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::Deserialize;

use super::claims::Claims;
use super::issuer::Issuer;
use super::key::Key;
use crate::auth::verified_cache::VerifiedCache;
use crate::{Principal, Refusal};

/// Verifies tokens of some issuers. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(in crate::auth) struct Verifier(Arc<Inner>);

struct Inner {
    issuers: Vec<(Issuer, Validation)>,
    cache: Option<VerifiedCache<Verified>>,
}

/// A token whose signature was right.
#[derive(Clone)]
struct Verified {
    principal: Principal,
    begin: SystemTime,
    end: SystemTime,
    issuer: usize,
    /// Of the key set by which it was verified: a withdrawn key withdraws its tokens.
    generation: u64,
}

impl Verifier {
    pub(in crate::auth) fn new(issuers: impl IntoIterator<Item = Issuer>) -> Self {
        // Without this it cannot choose where the program has it with other cryptography too. Another
        // choice of the program's stands.
        #[cfg(feature = "aws-lc-rs")]
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
        let _ = jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER.install_default();
        let issuers = issuers.into_iter().map(|issuer| {
            let validation = validation(&issuer);
            (issuer, validation)
        });
        Self(Arc::new(Inner {
            issuers: issuers.collect(),
            cache: VerifiedCache::new(4096, Duration::from_secs(5 * 60)),
        }))
    }

    pub(in crate::auth) fn issuers(&self) -> impl Iterator<Item = &Issuer> {
        self.0.issuers.iter().map(|(issuer, _)| issuer)
    }

    /// Whether a text looks like a signed token (RFC 7515 §3.1).
    pub(in crate::auth) fn is_signed(token: &[u8]) -> bool {
        token.starts_with(b"ey") && token.split(|&byte| byte == b'.').count() == 3
    }

    /// Whose token this is. `user` is the name beside it where it is shown as the password of Basic.
    pub(in crate::auth) fn verify(
        &self,
        token: &[u8],
        user: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<Principal, Refusal> {
        if !Self::is_signed(token) {
            return Err(Refusal::CredentialsUnknown);
        }
        let cache = self.0.cache.as_ref();
        let proof = cache.map(|cache| cache.proof(b"jwt", token));
        let known = cache
            .zip(proof)
            .and_then(|(cache, proof)| cache.recall(&proof));
        if let Some(verified) = known.filter(|known| self.holds(known, user)) {
            return verified.at(now);
        }
        let verified = self.prove(token, user)?;
        if let Some((cache, proof)) = cache.zip(proof) {
            cache.remember(proof, verified.clone());
        }
        verified.at(now)
    }

    fn holds(&self, verified: &Verified, user: Option<&[u8]>) -> bool {
        let issuer = self.0.issuers.get(verified.issuer);
        issuer.is_some_and(|(issuer, _)| {
            issuer.keys.generation() == verified.generation && issuer.takes(user)
        })
    }

    fn prove(&self, token: &[u8], user: Option<&[u8]>) -> Result<Verified, Refusal> {
        let unknown = Refusal::CredentialsUnknown;
        let header = decode_header(token).map_err(|_| unknown)?;
        // RFC 7515 §4.1.11: what must be understood is not.
        if header.crit.is_some() {
            return Err(unknown);
        }
        // Only the named issuer's keys are looked at, and asked for if they lack this one.
        let claimed = Claimed::of(token).ok_or(unknown)?;
        let mut refusal = unknown;
        for (number, (issuer, validation)) in self.0.issuers.iter().enumerate() {
            if issuer.name != claimed.iss || !issuer.takes(user) {
                continue;
            }
            let keys = issuer.keys.load();
            if keys.has_lapsed() {
                refusal = Refusal::Unavailable;
                continue;
            }
            let verified = keys
                .find(header.kid.as_deref())
                .find_map(|key| issuer.verified(token, key, validation));
            if let Some((principal, begin, end)) = verified {
                return Ok(Verified {
                    principal,
                    begin,
                    end,
                    issuer: number,
                    generation: keys.generation(),
                });
            }
        }
        Err(refusal)
    }
}

impl Issuer {
    /// Whose token it is and when it is good, if this key signed it for this issuer.
    fn verified(
        &self,
        token: &[u8],
        key: &Key,
        validation: &Validation,
    ) -> Option<(Principal, SystemTime, SystemTime)> {
        // By the key's algorithm, whatever the token's header says.
        let mut validation = validation.clone();
        validation.algorithms = vec![key.algorithm];
        let claims = decode::<Claims>(token, &key.decoding, &validation).ok()?;
        let claims = claims.claims;
        if claims.iss != self.name {
            return None;
        }
        let (begin, end) = claims.validity(self.leeway)?;
        Some((claims.principal(self)?, begin, end))
    }
}

/// What a token says before its signature is verified.
#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

impl Claimed {
    fn of(token: &[u8]) -> Option<Self> {
        let claims = token.split(|&byte| byte == b'.').nth(1)?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
        serde_json::from_slice(&claims).ok()
    }
}

impl Verified {
    fn at(self, now: SystemTime) -> Result<Principal, Refusal> {
        if now < self.begin {
            return Err(Refusal::CredentialsNotYetValid);
        }
        if now >= self.end {
            return Err(Refusal::CredentialsExpired);
        }
        Ok(self.principal)
    }
}

fn validation(issuer: &Issuer) -> Validation {
    let mut validation = Validation {
        // Set for each key.
        algorithms: Vec::new(),
        ..Validation::default()
    };
    validation.set_issuer(&[&issuer.name]);
    validation.set_audience(&issuer.audiences);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    // By our clock, which tests own.
    validation.validate_exp = false;
    validation
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = self.0.issuers.iter().map(|(issuer, _)| &issuer.name);
        f.debug_list().entries(issuers).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Method;

    #[test]
    fn a_token_is_good_from_its_first_instant_to_before_its_last() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let verified = Verified {
            principal: Principal::new(Method::Token, "ci"),
            begin: at(10),
            end: at(20),
            issuer: 0,
            generation: 1,
        };
        for (now, refusal) in [
            (9, Some(Refusal::CredentialsNotYetValid)),
            (10, None),
            (19, None),
            (20, Some(Refusal::CredentialsExpired)),
        ] {
            assert_eq!(verified.clone().at(at(now)).err(), refusal, "{now}");
        }
    }

    #[test]
    fn a_signed_token_is_three_parts_of_which_the_first_is_an_object() {
        for (text, is_signed) in [
            ("eyJh.eyJi.c", true),
            ("ey..", true),
            ("a.b.c", false),
            ("eyJh.b", false),
            ("eyJh", false),
            ("eyJh.b.c.d", false),
            ("", false),
        ] {
            assert_eq!(Verifier::is_signed(text.as_bytes()), is_signed, "{text}");
        }
    }
}
