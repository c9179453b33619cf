use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::credential::Validity;
use super::digest::{Kind, SlowHash};
use super::index::DigestIndex;
use super::{Binding, Credential, CredentialError};
use crate::audit::metrics;
use crate::identity::Method;
use crate::source::Networks;
use crate::{PeerIdentity, Principal, Refusal};

/// Every credential, by the SHA-256 digests of tokens and by the names of password users. Digests
/// are all that is kept.
pub struct Credentials {
    /// The first is nobody's, and so is a token that no secret has: where there are passwords only, that
    /// is what is found.
    holders: Vec<Holder>,
    /// By their digests.
    tokens: Vec<Token>,
    by_digest: DigestIndex,
    by_user: HashMap<Box<[u8]>, u32>,
    with_passwords: Vec<u32>,
    /// Whether any secret has a time, so that the clock must be read.
    timed: bool,
    decoys: RandomState,
    warn_before: Duration,
}

/// Who has a credential, and what it is good for.
struct Holder {
    principal: Principal,
    networks: Networks,
    binding: Option<Binding>,
    comment: Option<Box<str>>,
    passwords: Vec<Password>,
}

struct Token {
    digest: [u8; 32],
    holder: u32,
    validity: Validity,
    warned: Warned,
}

struct Password {
    hash: SlowHash,
    validity: Validity,
    warned: Warned,
}

/// When the log last told of a use, in seconds of Unix time.
#[derive(Default)]
struct Warned(AtomicU64);

/// Where and when a credential is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) now: Option<SystemTime>,
    pub(super) client: Option<IpAddr>,
    pub(super) peer: Option<&'a PeerIdentity>,
}

/// The passwords that a user name may have. Of an unknown user, those of somebody else, so that it
/// takes as long; none of them lets in.
pub(super) struct Candidates {
    pub(super) hashes: Vec<SlowHash>,
}

const WARN_EVERY: u64 = 3600;

impl Credentials {
    /// All of these.
    ///
    /// # Errors
    /// An id or a token that is there twice, a credential without a secret, or none at all.
    pub fn new(credentials: impl IntoIterator<Item = Credential>) -> Result<Self, CredentialError> {
        let mut all = Self {
            holders: vec![Holder::nobody()],
            tokens: vec![Token {
                digest: [0; 32],
                holder: 0,
                validity: Validity::default(),
                warned: Warned::default(),
            }],
            by_digest: DigestIndex::new([].into_iter()),
            by_user: HashMap::new(),
            with_passwords: Vec::new(),
            timed: false,
            decoys: RandomState::new(),
            warn_before: Duration::ZERO,
        };
        for credential in credentials {
            all.add(credential)?;
        }
        if all.holders.len() == 1 {
            return Err(CredentialError::None);
        }
        all.index_tokens()?;
        Ok(all)
    }

    /// Warns in the log and counts when a secret is used that expires within this time.
    pub(super) fn with_warning_before(mut self, time: Duration) -> Self {
        self.warn_before = time;
        self
    }

    fn add(&mut self, credential: Credential) -> Result<(), CredentialError> {
        let id = credential.id;
        if id.is_empty() || id.contains(|c: char| c == ':' || c.is_control()) {
            return Err(CredentialError::Id { id: id.into() });
        }
        if credential.secrets.is_empty() {
            return Err(CredentialError::NoSecret { id: id.into() });
        }
        let number = index(self.holders.len());
        if self.by_user.insert(id.as_bytes().into(), number).is_some() {
            return Err(CredentialError::SameId { id: id.into() });
        }
        let mut passwords = Vec::new();
        for secret in credential.secrets {
            let validity = secret.validity;
            self.timed |= validity.is_bounded();
            match secret.digest.0 {
                Kind::Sha256(digest) => self.tokens.push(Token {
                    digest,
                    holder: number,
                    validity,
                    warned: Warned::default(),
                }),
                Kind::Slow(hash) => passwords.push(Password {
                    hash,
                    validity,
                    warned: Warned::default(),
                }),
            }
        }
        if !passwords.is_empty() {
            self.with_passwords.push(number);
        }
        self.holders.push(Holder {
            principal: Principal::new(Method::Token, id).in_groups(credential.groups),
            networks: credential
                .networks
                .map_or_else(Networks::allow_all, Networks::allow),
            binding: credential.binding,
            comment: credential.comment,
            passwords,
        });
        Ok(())
    }

    fn index_tokens(&mut self) -> Result<(), CredentialError> {
        self.tokens
            .sort_unstable_by_key(|token| (token.digest, token.holder));
        for pair in self.tokens.windows(2) {
            if pair[0].digest == pair[1].digest {
                let id = |token: &Token| {
                    let holder = &self.holders[token.holder as usize];
                    holder.principal.id().to_owned()
                };
                return Err(CredentialError::SameSecret {
                    first: id(&pair[0]),
                    second: id(&pair[1]),
                });
            }
        }
        self.by_digest = DigestIndex::new(self.tokens.iter().map(|token| &token.digest));
        Ok(())
    }

    /// How many credentials there are.
    pub fn len(&self) -> usize {
        self.holders.len() - 1
    }

    /// Never true: a snapshot without credentials cannot be made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every group that a credential is in.
    #[cfg(feature = "policy")]
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        let holders = self.holders.iter();
        holders.flat_map(|holder| holder.principal.groups().iter().map(|group| &**group))
    }

    pub(super) fn is_timed(&self) -> bool {
        self.timed
    }

    pub(super) fn has_passwords(&self) -> bool {
        !self.with_passwords.is_empty()
    }

    /// The caller whose token this is, and, with a user, whose id that is. `None` is a secret that
    /// is no token: some other's is then looked at in the same way, so that it takes as long.
    pub(super) fn by_token(
        &self,
        user: Option<&[u8]>,
        secret: &[u8],
        circumstances: Circumstances<'_>,
    ) -> Option<Result<&Principal, Refusal>> {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        let token = &self.tokens[self.by_digest.candidate(&digest)];
        let holder = &self.holders[token.holder as usize];
        let id = holder.principal.id().as_bytes();
        let same_user = user.map_or(Choice::from(1), |user| user.ct_eq(id));
        let same = same_digest(&token.digest, &digest) & same_user;
        let good = holder.good(&token.validity, circumstances);
        if !bool::from(same) || token.holder == 0 {
            return None;
        }
        if good.is_ok() {
            self.warn(holder, &token.validity, &token.warned, circumstances.now);
        }
        Some(good.map(|()| &holder.principal))
    }

    /// What to verify a user's password against.
    pub(super) fn candidates(&self, user: &[u8]) -> Candidates {
        let known = self.by_user.get(user).copied().unwrap_or(0);
        let known = Some(known).filter(|&at| !self.holders[at as usize].passwords.is_empty());
        let at = known.or_else(|| {
            // The same user always takes the same time.
            let count = u64::try_from(self.with_passwords.len()).ok()?;
            let pick = self.decoys.hash_one(user).checked_rem(count)?;
            let pick = usize::try_from(pick).ok()?;
            self.with_passwords.get(pick).copied()
        });
        let passwords = at.map(|at| &self.holders[at as usize].passwords);
        Candidates {
            hashes: passwords
                .into_iter()
                .flatten()
                .map(|password| password.hash.clone())
                .collect(),
        }
    }

    /// The caller with this user name, whose password with the hash of this name was shown.
    pub(super) fn by_password(
        &self,
        user: &[u8],
        hash: &[u8; 32],
        circumstances: Circumstances<'_>,
    ) -> Result<&Principal, Refusal> {
        let unknown = Refusal::CredentialsUnknown;
        let at = self.by_user.get(user).ok_or(unknown)?;
        let holder = &self.holders[*at as usize];
        let mut passwords = holder.passwords.iter();
        let password = passwords
            .find(|password| password.hash.name.ct_eq(hash).into())
            .ok_or(unknown)?;
        holder.good(&password.validity, circumstances)?;
        self.warn(
            holder,
            &password.validity,
            &password.warned,
            circumstances.now,
        );
        Ok(&holder.principal)
    }

    fn warn(&self, holder: &Holder, validity: &Validity, warned: &Warned, now: Option<SystemTime>) {
        let (Some(expires), Some(now)) = (validity.expires, now) else {
            return;
        };
        let left = expires.duration_since(now).unwrap_or_default();
        if left > self.warn_before {
            return;
        }
        metrics::expiring_credential_used(holder.principal.id());
        if warned.is_due(now) {
            tracing::warn!(
                credential = holder.principal.id(),
                comment = holder.comment.as_deref(),
                hours_left = left.as_secs() / 3600,
                "a secret is in use that expires soon",
            );
        }
    }
}

impl Holder {
    fn nobody() -> Self {
        Self {
            principal: Principal::new(Method::Token, ""),
            networks: Networks::allow_all(),
            binding: None,
            comment: None,
            passwords: Vec::new(),
        }
    }

    /// Looks at everything, so that one failing takes as long as another.
    fn good(&self, validity: &Validity, at: Circumstances<'_>) -> Result<(), Refusal> {
        let early = validity
            .not_before
            .is_some_and(|from| at.now.is_some_and(|now| now < from));
        let late = validity
            .expires
            .is_some_and(|until| at.now.is_some_and(|now| now >= until));
        let permitted = self.networks.is_open()
            || at
                .client
                .is_some_and(|client| self.networks.permits(client));
        let bound = |binding: &Binding| at.peer.is_some_and(|peer| binding.is(peer));
        let bound = self.binding.as_ref().is_none_or(bound);
        match (early, late, permitted, bound) {
            (true, ..) => Err(Refusal::CredentialsNotYetValid),
            (_, true, ..) => Err(Refusal::CredentialsExpired),
            (_, _, false, _) => Err(Refusal::CredentialsWrongNetwork),
            (.., false) => Err(Refusal::CredentialsWrongIdentity),
            _ => Ok(()),
        }
    }
}

/// As [`ConstantTimeEq`] of the octets, and eight at a time.
fn same_digest(one: &[u8; 32], other: &[u8; 32]) -> Choice {
    let pairs = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    pairs.fold(Choice::from(1), |same, (one, other)| {
        same & u64::from_ne_bytes(*one).ct_eq(&u64::from_ne_bytes(*other))
    })
}

impl Warned {
    fn is_due(&self, now: SystemTime) -> bool {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let last = self.0.load(Ordering::Relaxed);
        now >= last.saturating_add(WARN_EVERY)
            && self
                .0
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
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
