use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::digest::{Cost, HashKind, HashName, SlowHash};
use super::validity::{Circumstances, CredentialOwner, Password, SecretValidity};
use super::{Credential, CredentialError};
use crate::identity::Method;
use crate::source::Networks;
use crate::{Principal, Refusal};

/// Every credential, by the SHA-256 digests of tokens and by the names of password users. Digests
/// are all that is kept.
pub struct Credentials {
    owners: Vec<CredentialOwner>,
    /// Those that cannot be guessed, by their SHA-256 digests.
    tokens: HashMap<[u8; 32], Token>,
    /// Those that can.
    weak_tokens: HashMap<[u8; 32], Token>,
    by_user: HashMap<Box<[u8]>, u32>,
    costs: Vec<Spent>,
    warn_before: Duration,
}

pub(super) struct Token {
    principal: Principal,
    /// `None` is good at any time and from anywhere.
    validity: Option<TokenValidity>,
}

struct TokenValidity {
    owner: u32,
    secret: SecretValidity,
}

/// How many hashes of a cost are verified for every name: as many as any owner has.
struct Spent {
    cost: Cost,
    count: usize,
    /// One of them.
    decoy: SlowHash,
}

/// What to verify a password against: for every name the same count of hashes of the same costs, so
/// that it takes as long for one as for another and for an unknown one.
pub(super) struct Candidates {
    pub(super) own: Vec<SlowHash>,
    /// Of other owners: they let no caller in here.
    pub(super) decoys: Vec<SlowHash>,
}

impl Credentials {
    /// Makes the set of these credentials.
    ///
    /// # Errors
    /// An id or a token that is there twice, a credential without a secret, or none at all.
    pub fn new(credentials: impl IntoIterator<Item = Credential>) -> Result<Self, CredentialError> {
        let all = Self::or_none(credentials)?;
        if all.is_empty() {
            return Err(CredentialError::None);
        }
        Ok(all)
    }

    /// All of these, or none where callers can come in otherwise.
    pub(super) fn or_none(
        credentials: impl IntoIterator<Item = Credential>,
    ) -> Result<Self, CredentialError> {
        let mut all = Self {
            owners: Vec::new(),
            tokens: HashMap::new(),
            weak_tokens: HashMap::new(),
            by_user: HashMap::new(),
            costs: Vec::new(),
            warn_before: Duration::ZERO,
        };
        for credential in credentials {
            all.add(credential)?;
        }
        Ok(all)
    }

    /// Warns in the log and counts when a secret is used that expires within this time.
    pub(super) fn with_warning_before(mut self, time: Duration) -> Self {
        self.warn_before = time;
        self
    }

    fn add(&mut self, credential: Credential) -> Result<(), CredentialError> {
        let id = credential.id;
        if id.trim().is_empty() || id.contains(|c: char| c == ':' || c.is_control()) {
            return Err(CredentialError::Id { id: id.into() });
        }
        if credential.secrets.is_empty() {
            return Err(CredentialError::NoSecret { id: id.into() });
        }
        if credential
            .secrets
            .iter()
            .any(|secret| secret.validity.is_never())
        {
            return Err(CredentialError::NeverGood { id: id.into() });
        }
        let number = index(self.owners.len());
        if self.by_user.insert(id.as_bytes().into(), number).is_some() {
            return Err(CredentialError::SameId { id: id.into() });
        }
        let principal = Principal::new(Method::Token, id).in_groups(credential.groups);
        let is_free = credential.networks.is_none() && credential.binding.is_none();
        let mut passwords = Vec::new();
        for secret in credential.secrets {
            let validity = secret.validity;
            let principal = match validity.expires {
                Some(end) => principal.clone().ending(end),
                None => principal.clone(),
            };
            match secret.digest.0 {
                HashKind::Sha256(digest) => {
                    let bounded = || TokenValidity {
                        owner: number,
                        secret: validity.into(),
                    };
                    let token = Token {
                        principal: principal.clone(),
                        validity: (!is_free || validity.is_bounded()).then(bounded),
                    };
                    let weak = secret.guessable;
                    let known = self.tokens.get(&digest);
                    if let Some(other) = known.or_else(|| self.weak_tokens.get(&digest)) {
                        return Err(CredentialError::SameSecret {
                            first: other.principal.id().to_owned(),
                            second: principal.id().to_owned(),
                        });
                    }
                    let tokens = if weak {
                        &mut self.weak_tokens
                    } else {
                        &mut self.tokens
                    };
                    tokens.insert(digest, token);
                }
                HashKind::Slow(hash) => passwords.push(Password {
                    hash,
                    principal,
                    validity: validity.into(),
                }),
            }
        }
        self.spend(&passwords);
        self.owners.push(CredentialOwner {
            principal,
            networks: credential
                .networks
                .map_or_else(Networks::allow_all, Networks::allow),
            binding: credential.binding,
            comment: credential.comment,
            passwords,
        });
        Ok(())
    }

    /// Sees that as much is spent for every name as for one with these passwords.
    fn spend(&mut self, passwords: &[Password]) {
        for Password { hash, .. } in passwords {
            let alike = passwords
                .iter()
                .filter(|other| other.hash.cost == hash.cost);
            let needed = alike.count();
            let mut known = self.costs.iter_mut();
            match known.find(|spent| spent.cost == hash.cost) {
                Some(spent) => spent.count = spent.count.max(needed),
                None => self.costs.push(Spent {
                    cost: hash.cost,
                    count: needed,
                    decoy: hash.clone(),
                }),
            }
        }
    }

    /// Returns how many credentials there are.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Returns whether there are none: true only for a configuration with issuers of signed tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every group that a credential is in.
    #[cfg(feature = "policy")]
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        let owners = self.owners.iter();
        owners.flat_map(|owner| owner.principal.groups().iter().map(|group| &**group))
    }

    /// Who has the credential of this id.
    #[cfg(feature = "config")]
    pub(crate) fn owner(&self, id: &str) -> Option<&Principal> {
        let at = usize::try_from(*self.by_user.get(id.as_bytes())?).ok()?;
        self.owners.get(at).map(|owner| &owner.principal)
    }

    pub(super) fn has_passwords(&self) -> bool {
        !self.costs.is_empty()
    }

    /// Whether there is anything that can be guessed for a name.
    pub(super) fn has_guessable(&self) -> bool {
        self.has_passwords() || !self.weak_tokens.is_empty()
    }

    /// The token with this secret and, with a user, of this id. Weak ones are not among them.
    pub(super) fn token(&self, user: Option<&[u8]>, secret: &[u8]) -> Option<&Token> {
        find(&self.tokens, user, secret)
    }

    /// As [`Credentials::token`] of those that can be guessed: only for callers that the throttle lets guess.
    pub(super) fn weak_token(&self, user: Option<&[u8]>, secret: &[u8]) -> Option<&Token> {
        find(&self.weak_tokens, user, secret)
    }

    /// The caller whose token this is, if it is good here and now.
    #[inline]
    pub(super) fn admit<'a>(
        &'a self,
        token: &'a Token,
        circumstances: impl FnOnce() -> Circumstances<'a>,
    ) -> Result<&'a Principal, Refusal> {
        if let Some(validity) = &token.validity {
            let owner = &self.owners[validity.owner as usize];
            owner.admit(&validity.secret, &circumstances(), self.warn_before)?;
        }
        Ok(&token.principal)
    }

    /// What to verify a user's password against.
    pub(super) fn candidates(&self, user: &[u8]) -> Candidates {
        let owner = self.by_user.get(user);
        let passwords = owner.map_or(&[][..], |at| &self.owners[*at as usize].passwords);
        let own: Vec<_> = passwords.iter().map(|one| one.hash.clone()).collect();
        let mut decoys = Vec::new();
        for spent in &self.costs {
            let had = own.iter().filter(|hash| hash.cost == spent.cost).count();
            let lacking = spent.count.saturating_sub(had);
            decoys.extend(std::iter::repeat_n(&spent.decoy, lacking).cloned());
        }
        Candidates { own, decoys }
    }

    /// The caller with this user name, whose password with the hash of this name was shown.
    pub(super) fn by_password(
        &self,
        user: &[u8],
        hash: &HashName,
        circumstances: &Circumstances<'_>,
    ) -> Result<&Principal, Refusal> {
        let unknown = Refusal::CredentialsUnknown;
        let at = self.by_user.get(user).ok_or(unknown)?;
        let owner = &self.owners[*at as usize];
        let mut passwords = owner.passwords.iter();
        let password = passwords
            .find(|password| password.hash.name.ct_eq(hash).into())
            .ok_or(unknown)?;
        owner.admit(&password.validity, circumstances, self.warn_before)?;
        Ok(&password.principal)
    }
}

fn find<'a>(
    tokens: &'a HashMap<[u8; 32], Token>,
    user: Option<&[u8]>,
    secret: &[u8],
) -> Option<&'a Token> {
    if tokens.is_empty() {
        return None;
    }
    let token = tokens.get(&<[u8; 32]>::from(Sha256::digest(secret)))?;
    let is_its_user = |user: &[u8]| token.principal.id().as_bytes().ct_eq(user).into();
    user.is_none_or(is_its_user).then_some(token)
}

fn index(length: usize) -> u32 {
    // Four billion credentials do not fit into memory.
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::digest::SecretDigest;

    fn bcrypt(cost: u32) -> SecretDigest {
        let hash = format!("$2y${cost:02}$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u");
        hash.parse().unwrap()
    }

    fn argon2id(memory: u32) -> SecretDigest {
        let hash = format!(
            "$argon2id$v=19$m={memory},t=2,p=1$c29tZXNhbHRzYWx0$\
             LE3v3zvRjRmB2HhQYGUyBHb4gdKzxIAu5U6uJ2y2T2A"
        );
        hash.parse().unwrap()
    }

    #[test]
    fn every_name_takes_the_same_work_whatever_hashes_it_has() {
        let credentials = Credentials::new([
            Credential::new("old").with_secret(bcrypt(10)),
            Credential::new("new").with_secret(bcrypt(12)),
            Credential::new("both")
                .with_secret(bcrypt(10))
                .with_secret(bcrypt(10)),
            Credential::new("modern").with_secret(argon2id(19_456)),
            Credential::new("slow").with_secret(argon2id(65_536)),
            Credential::new("token").with_secret(SecretDigest::of_token(b"token")),
        ])
        .unwrap();
        let order = |cost: &Cost| match *cost {
            Cost::Bcrypt { log_rounds } => (0, log_rounds),
            Cost::Argon2id { memory, .. } => (1, memory),
        };
        for (user, own) in [
            ("old", 1),
            ("new", 1),
            ("both", 2),
            ("modern", 1),
            ("slow", 1),
            ("token", 0),
            ("nobody", 0),
            ("", 0),
        ] {
            let candidates = credentials.candidates(user.as_bytes());
            assert_eq!(candidates.own.len(), own, "{user}");
            let all = candidates.own.iter().chain(&candidates.decoys);
            let mut costs: Vec<_> = all.map(|hash| order(&hash.cost)).collect();
            costs.sort_unstable();
            let everybodys = [(0, 10), (0, 10), (0, 12), (1, 19_456), (1, 65_536)];
            assert_eq!(costs, everybodys, "{user}");
        }
    }
}
