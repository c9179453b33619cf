//! Whether a credential is good here and now.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::Binding;
use super::credential::Validity;
use super::digest::SlowHash;
use crate::source::Networks;
use crate::telemetry::metrics;
use crate::{PeerIdentity, Principal, Refusal};

/// The owner of a credential, and what it is good for.
pub(super) struct CredentialOwner {
    pub(super) principal: Principal,
    pub(super) networks: Networks,
    pub(super) binding: Option<Binding>,
    pub(super) comment: Option<Box<str>>,
    pub(super) passwords: Vec<Password>,
}

pub(super) struct Password {
    pub(super) hash: SlowHash,
    /// The owner, until the password ends.
    pub(super) principal: Principal,
    pub(super) validity: SecretValidity,
}

/// When a secret is valid, and when the log last reported its use.
pub(super) struct SecretValidity {
    validity: Validity,
    warned: Warned,
}

/// When the log last reported a use, in seconds of Unix time.
#[derive(Default)]
struct Warned(AtomicU64);

/// Where and when a credential is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) now: SystemTime,
    pub(super) client: Option<IpAddr>,
    pub(super) peer: Option<&'a PeerIdentity>,
}

const WARN_EVERY: u64 = 3600;

impl CredentialOwner {
    /// Whether a secret of this validity is good here and now; logs its use if it ends within
    /// `warn_before`.
    pub(super) fn admit(
        &self,
        secret: &SecretValidity,
        at: &Circumstances<'_>,
        warn_before: Duration,
    ) -> Result<(), Refusal> {
        self.good(&secret.validity, at)?;
        self.warn(secret, at.now, warn_before);
        Ok(())
    }

    fn good(&self, validity: &Validity, at: &Circumstances<'_>) -> Result<(), Refusal> {
        let early = validity.not_before.is_some_and(|from| at.now < from);
        let late = validity.expires.is_some_and(|until| at.now >= until);
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

    fn warn(&self, secret: &SecretValidity, now: SystemTime, warn_before: Duration) {
        let Some(expires) = secret.validity.expires else {
            return;
        };
        let left = expires.duration_since(now).unwrap_or_default();
        if left > warn_before {
            return;
        }
        metrics::expiring_credential_used(self.principal.id());
        if secret.warned.is_due(now) {
            tracing::warn!(
                credential = self.principal.id(),
                comment = self.comment.as_deref(),
                hours_left = left.as_secs() / 3600,
                "a secret is in use that expires soon",
            );
        }
    }
}

impl From<Validity> for SecretValidity {
    fn from(validity: Validity) -> Self {
        Self {
            validity,
            warned: Warned::default(),
        }
    }
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
