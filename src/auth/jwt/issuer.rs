use std::time::Duration;

use super::KeySet;
use crate::Watched;
use crate::auth::CredentialError;

/// Whose tokens are good, and for what.
#[derive(Clone, Debug)]
pub struct Issuer {
    pub(super) name: String,
    pub(super) audiences: Vec<String>,
    pub(super) keys: Watched<KeySet>,
    pub(super) kind: Kind,
    pub(super) prefix: String,
    pub(super) leeway: Duration,
    pub(super) basic_users: Option<Vec<String>>,
}

/// The group of all service accounts, and what the groups of those of a namespace begin with, as the
/// cluster's own authenticator has it.
pub(super) const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The `access` claims are all that is allowed.
    Registry,
    /// The policy decides.
    ServiceAccount,
}

impl Issuer {
    /// Makes an issuer of registry tokens by the distribution token specification: `iss` is `issuer`.
    pub fn of_registry_tokens(issuer: impl Into<String>, keys: impl Into<Watched<KeySet>>) -> Self {
        Self::new(issuer.into(), keys.into(), Kind::Registry)
    }

    /// Makes an issuer of Kubernetes service-account tokens: `issuer` is the cluster's.
    pub fn of_service_accounts(
        issuer: impl Into<String>,
        keys: impl Into<Watched<KeySet>>,
    ) -> Self {
        Self::new(issuer.into(), keys.into(), Kind::ServiceAccount)
    }

    fn new(name: String, keys: Watched<KeySet>, kind: Kind) -> Self {
        Self {
            name,
            audiences: Vec::new(),
            keys,
            kind,
            prefix: String::new(),
            leeway: Duration::from_secs(60),
            basic_users: None,
        }
    }

    /// Takes tokens for one of these audiences, and no others: of registry tokens the service that
    /// the challenge names, of service accounts what the pods' projected tokens are made for.
    ///
    /// # Errors
    /// None, or an empty one.
    pub fn with_audiences<A: Into<String>>(
        mut self,
        audiences: impl IntoIterator<Item = A>,
    ) -> Result<Self, CredentialError> {
        self.audiences = audiences.into_iter().map(Into::into).collect();
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(CredentialError::NoAudience { issuer: self.name });
        }
        Ok(self)
    }

    /// Returns the name of the issuer.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn keys(&self) -> &Watched<KeySet> {
        &self.keys
    }

    /// Whether the caller of a token that it signed may be in this group.
    #[cfg(feature = "policy")]
    pub(crate) fn may_give(&self, group: &str) -> bool {
        let rest = group.strip_prefix(SERVICE_ACCOUNTS);
        self.kind == Kind::ServiceAccount
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }

    /// Whether its tokens say what is allowed.
    pub(crate) fn grants(&self) -> bool {
        self.kind == Kind::Registry
    }

    /// Begins every principal's id with this, so that two issuers' subjects are not confused: give each
    /// one that no other's begins with. Of a configuration file that is required.
    pub fn with_subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Takes its tokens as the password of Basic beside these user names only; without any, as Bearer only. A
    /// kubelet can show a token in no other way than as a password. Default: beside each user name.
    pub fn with_basic_users<U: Into<String>>(mut self, users: impl IntoIterator<Item = U>) -> Self {
        self.basic_users = Some(users.into_iter().map(Into::into).collect());
        self
    }

    /// The user names beside which its tokens count as a password; `None` where each does.
    pub fn basic_users(&self) -> Option<&[String]> {
        self.basic_users.as_deref()
    }

    /// Whether a token of its counts as it is shown: as Bearer, or beside this user name.
    pub(super) fn takes(&self, user: Option<&[u8]>) -> bool {
        match (user, &self.basic_users) {
            (None, _) | (_, None) => true,
            (Some(user), Some(users)) => users.iter().any(|one| one.as_bytes() == user),
        }
    }

    /// Allows the issuer's clock to be off by this much. Default: 60 s.
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }
}
