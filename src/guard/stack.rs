use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tower::Layer;
use tower_http::sensitive_headers::{SetSensitiveRequestHeaders, SetSensitiveRequestHeadersLayer};

use super::{Builder, Danger, Report};
use crate::audit::{AccessLog, AccessLogLayer, Check};
use crate::source::{Forwarded, ForwardedLayer, Source, SourceLayer};

/// The layers that a configuration names, stacked in the one right order. See the [module](super).
#[derive(Clone, Debug)]
pub struct Guard {
    pub(super) sensitive: SetSensitiveRequestHeadersLayer,
    pub(super) forwarded: ForwardedLayer,
    pub(super) access_log: AccessLogLayer,
    pub(super) source: SourceLayer,
    #[cfg(feature = "tls")]
    pub(super) forwarded_certificate: crate::tls::ForwardedLayer,
    #[cfg(feature = "auth")]
    pub(super) auth: crate::auth::TokenAuthLayer,
    #[cfg(feature = "crl")]
    pub(super) revocation: crate::crl::RevocationLayer,
    #[cfg(feature = "policy")]
    pub(super) policy: crate::policy::PolicyLayer,
    #[cfg(feature = "digest-binding")]
    pub(super) digest_binding: crate::policy::BindingLayer,
    #[cfg(feature = "tls")]
    pub(super) acceptor: Option<crate::tls::Acceptor>,
    #[cfg(feature = "rate")]
    pub(super) rate: crate::rate::ByteRateLayer,
    pub(super) report: Report,
    /// Whether the report was told, or the program has taken it to tell it.
    pub(super) told: Arc<AtomicBool>,
    pub(super) checks: Vec<Check>,
}

/// A service behind a [`Guard`].
pub type Guarded<S> = SetSensitiveRequestHeaders<
    Forwarded<AccessLog<Source<Vouched<Authenticated<Revocable<Policed<Rated<S>>>>>>>>,
>;

#[cfg(feature = "tls")]
type Vouched<S> = crate::tls::Forwarded<S>;
#[cfg(not(feature = "tls"))]
type Vouched<S> = S;

#[cfg(feature = "crl")]
type Revocable<S> = crate::crl::Revoking<S>;
#[cfg(not(feature = "crl"))]
type Revocable<S> = S;

#[cfg(feature = "policy")]
type Policed<S> = crate::policy::Enforce<Bound<S>>;
#[cfg(not(feature = "policy"))]
type Policed<S> = S;

#[cfg(feature = "digest-binding")]
type Bound<S> = crate::policy::binding::Bound<S>;
#[cfg(all(feature = "policy", not(feature = "digest-binding")))]
type Bound<S> = S;

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

    /// Writes what is to outlive a restart: what is known of digests, if a file is named for it. That
    /// happens now and then by itself; call this when the last request is answered. Blocks until it is
    /// on the disk.
    ///
    /// # Errors
    /// It cannot be written.
    #[cfg(feature = "digest-binding")]
    pub fn save(&self) -> Result<(), crate::policy::DigestFileError> {
        self.digest_binding.save()
    }

    /// Tells the server of a fleet what was sent last. That happens a few times a second by itself; call
    /// this when the last request is answered.
    #[cfg(feature = "redis")]
    pub async fn flush(&self) {
        self.rate.flush().await;
    }

    /// What is enforced and what is left open. A guard that becomes a layer without having been asked for
    /// it, here or by [`Guard::report_on`], writes it to the log itself.
    pub fn report(&self) -> &Report {
        self.told.store(true, Ordering::Relaxed);
        &self.report
    }

    /// [`Guard::report`] for a listener at this address: whether others can read along depends on it.
    pub fn report_on(&self, address: SocketAddr) -> Report {
        let mut report = self.report().clone();
        if self.takes_tokens_in_the_clear() && !address.ip().to_canonical().is_loopback() {
            report.warnings.insert(0, Danger::TokensInTheClear(address));
        }
        report
    }

    /// Whether each part can do its work now, for [`Admin::with_checks`](crate::audit::Admin::with_checks):
    /// whether the last reload of networks, credentials, policies, limits, certificates and CRLs
    /// failed, and whether a certificate or CRL has ended.
    pub fn checks(&self) -> impl Iterator<Item = Check> {
        self.checks.iter().cloned()
    }

    #[cfg(all(feature = "auth", feature = "tls"))]
    fn takes_tokens_in_the_clear(&self) -> bool {
        self.acceptor.is_none() && self.auth.authentication().takes_tokens()
    }

    #[cfg(all(feature = "auth", not(feature = "tls")))]
    fn takes_tokens_in_the_clear(&self) -> bool {
        self.auth.authentication().takes_tokens()
    }

    #[cfg(not(feature = "auth"))]
    fn takes_tokens_in_the_clear(&self) -> bool {
        false
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        if !self.told.swap(true, Ordering::Relaxed) {
            self.report.log();
        }
        #[cfg(feature = "rate")]
        let inner = self.rate.layer(inner);
        #[cfg(feature = "digest-binding")]
        let inner = self.digest_binding.layer(inner);
        #[cfg(feature = "policy")]
        let inner = self.policy.layer(inner);
        #[cfg(feature = "crl")]
        let inner = self.revocation.layer(inner);
        #[cfg(feature = "auth")]
        let inner = self.auth.layer(inner);
        // Not before the network is known to be allowed: a chain takes long to verify.
        #[cfg(feature = "tls")]
        let inner = self.forwarded_certificate.layer(inner);
        let inner = self.access_log.layer(self.source.layer(inner));
        // Outermost, so that no layer can show them.
        self.sensitive.layer(self.forwarded.layer(inner))
    }
}
