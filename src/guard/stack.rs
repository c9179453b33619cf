use tower::Layer;

use super::{Builder, Report};
use crate::audit::{AccessLog, AccessLogLayer};
use crate::source::{Source, SourceLayer};

/// The layers that a configuration names, stacked in the one right order. See the [module](super).
#[derive(Clone, Debug)]
pub struct Guard {
    pub(super) access_log: AccessLogLayer,
    pub(super) source: SourceLayer,
    #[cfg(feature = "auth")]
    pub(super) auth: crate::auth::TokenAuthLayer,
    #[cfg(feature = "crl")]
    pub(super) revocation: crate::crl::RevocationLayer,
    #[cfg(feature = "policy")]
    pub(super) policy: crate::policy::PolicyLayer,
    #[cfg(feature = "policy")]
    pub(super) digest_binding: crate::policy::BindingLayer,
    #[cfg(feature = "tls")]
    pub(super) acceptor: Option<crate::tls::Acceptor>,
    #[cfg(feature = "rate")]
    pub(super) rate: crate::rate::ByteRateLayer,
    pub(super) report: Report,
}

/// A service behind a [`Guard`].
pub type Guarded<S> = AccessLog<Source<Authenticated<Revocable<Policed<Rated<S>>>>>>;

#[cfg(feature = "crl")]
type Revocable<S> = crate::crl::Revoking<S>;
#[cfg(not(feature = "crl"))]
type Revocable<S> = S;

#[cfg(feature = "policy")]
type Policed<S> = crate::policy::Enforce<crate::policy::binding::Bound<S>>;
#[cfg(not(feature = "policy"))]
type Policed<S> = S;

#[cfg(feature = "auth")]
type Authenticated<S> = crate::auth::TokenAuth<S>;
#[cfg(not(feature = "auth"))]
type Authenticated<S> = S;

#[cfg(feature = "rate")]
type Rated<S> = crate::rate::ByteRate<S>;
#[cfg(not(feature = "rate"))]
type Rated<S> = S;

impl Guard {
    /// Begins a guard that enforces nothing yet.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The TLS acceptor of the configuration; `None` if it has no `[tls]`.
    #[cfg(feature = "tls")]
    pub fn acceptor(&self) -> Option<&crate::tls::Acceptor> {
        self.acceptor.as_ref()
    }

    /// Lets the policy tell the making of a tag from its change by this. Default: whoever sets a tag
    /// must be allowed both.
    #[cfg(feature = "policy")]
    pub fn with_tag_oracle(mut self, oracle: impl crate::policy::TagOracle + 'static) -> Self {
        self.policy = self.policy.with_tag_oracle(oracle);
        self
    }

    /// What is enforced and what is left open.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        #[cfg(feature = "rate")]
        let inner = self.rate.layer(inner);
        #[cfg(feature = "policy")]
        let inner = self.policy.layer(self.digest_binding.layer(inner));
        #[cfg(feature = "crl")]
        let inner = self.revocation.layer(inner);
        #[cfg(feature = "auth")]
        let inner = self.auth.layer(inner);
        self.access_log.layer(self.source.layer(inner))
    }
}
