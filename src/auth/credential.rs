use std::str::FromStr;
use std::time::SystemTime;

use ipnet::IpNet;

use super::digest::SecretDigest;
use super::{Binding, CredentialError};

/// One caller's credential: an id, and the secrets that prove it. Several secrets, each with its own
/// time, let one be changed for the next without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub(super) id: Box<str>,
    pub(super) groups: Vec<Box<str>>,
    pub(super) secrets: Vec<Secret>,
    pub(super) networks: Option<Vec<IpNet>>,
    pub(super) binding: Option<Binding>,
    pub(super) comment: Option<Box<str>>,
}

/// What is kept of one secret, and when it is good: SHA-256 of a generated token, bcrypt or Argon2id of a password.
///
/// As text it is `sha256:` and 64 hexadecimal digits (the prefix may be left out), a bcrypt hash (`$2y$…`), or an
/// Argon2id hash in PHC form (`$argon2id$…`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub(super) digest: SecretDigest,
    pub(super) validity: Validity,
    pub(super) guessable: bool,
}

/// From when, and until before when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: Option<SystemTime>,
    pub(super) expires: Option<SystemTime>,
}

impl Credential {
    /// Makes a credential of which no secret is known yet.
    pub fn new(id: impl Into<Box<str>>) -> Self {
        Self {
            id: id.into(),
            groups: Vec::new(),
            secrets: Vec::new(),
            networks: None,
            binding: None,
            comment: None,
        }
    }

    /// Puts the caller in these groups.
    pub fn in_groups<G: Into<Box<str>>>(mut self, groups: impl IntoIterator<Item = G>) -> Self {
        self.groups.extend(groups.into_iter().map(Into::into));
        self
    }

    /// Adds a secret, any one of which is enough.
    pub fn with_secret(mut self, secret: impl Into<Secret>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Accepts the credential from these networks only; with an empty list, from none.
    pub fn within(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.networks.get_or_insert_default().extend(networks);
        self
    }

    /// Accepts the credential on a connection with this certificate only: `spiffe://DOMAIN/PATH`, `dns:NAME`,
    /// `email:ADDRESS`, `uri:URI`, `subject:DN` or `fingerprint:HEX` (SHA-256), each compared as a whole.
    ///
    /// # Errors
    /// The text names no certificate.
    pub fn bound_to(self, certificate: &str) -> Result<Self, CredentialError> {
        Ok(self.with_binding(certificate.parse()?))
    }

    pub(super) fn with_binding(mut self, binding: Binding) -> Self {
        self.binding = Some(binding);
        self
    }

    /// Says in the operator's words what it is for; logged when it is about to expire.
    pub fn with_comment(mut self, comment: impl Into<Box<str>>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

impl Secret {
    /// Computes what is kept of a generated token, which is good at any time.
    pub fn of_token(token: &[u8]) -> Self {
        Self::new(SecretDigest::of_token(token))
    }

    pub(super) fn new(digest: SecretDigest) -> Self {
        Self {
            digest,
            validity: Validity::default(),
            guessable: false,
        }
    }

    /// Marks a secret that can be guessed: the throttle of failures covers it as it does passwords. Default:
    /// a SHA-256 digest is taken for that of a random token, which no throttle keeps out. bcrypt and
    /// Argon2id hashes are always throttled.
    pub fn guessable(mut self) -> Self {
        self.guessable = true;
        self
    }

    /// Accepts the secret from this time on. Default: from any.
    pub fn not_before(mut self, moment: SystemTime) -> Self {
        self.validity.not_before = Some(moment);
        self
    }

    /// Accepts the secret until just before this time. Default: for ever.
    pub fn expires(mut self, moment: SystemTime) -> Self {
        self.validity.expires = Some(moment);
        self
    }
}

impl FromStr for Secret {
    type Err = CredentialError;

    fn from_str(text: &str) -> Result<Self, CredentialError> {
        let digest = SecretDigest::read(text);
        let digest = digest.map_err(|error| CredentialError::Text(error.to_string().into()));
        digest.map(Self::new)
    }
}

impl From<SecretDigest> for Secret {
    fn from(digest: SecretDigest) -> Self {
        Self::new(digest)
    }
}

impl Validity {
    pub(super) fn is_bounded(&self) -> bool {
        self.not_before.is_some() || self.expires.is_some()
    }

    /// Whether it ends before it begins.
    pub(super) fn is_never(&self) -> bool {
        self.not_before
            .zip(self.expires)
            .is_some_and(|(from, until)| until <= from)
    }
}
