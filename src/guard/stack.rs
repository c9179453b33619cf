use std::net::SocketAddr;

use tower::Layer;

use super::{Builder, Danger, Guarded, Report};
use crate::access_log::AccessLogLayer;
use crate::admin::Check;
use crate::source::{ForwardedLayer, SourceLayer};

/// The checks that a configuration names, in the one right order, as one layer. See the [module](super).
///
/// The service behind it gets requests with a [`Body`](crate::Body), and its answers go out with one.
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use http_body_util::Empty;
/// use portcullis::source::Networks;
/// use portcullis::{Body, ClientAddr, Guard};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// type Requests = Request<Body<Empty<bytes::Bytes>>>;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let networks = Networks::allow(["10.0.0.0/8".parse()?]);
/// let guard = Guard::builder().networks(networks).build();
/// guard.report().log(); // Nothing else does.
/// let service = guard.layer(service_fn(async |_: Requests| {
///     Ok::<_, Infallible>(Response::new("hello".to_owned()))
/// }));
///
/// let mut request = Request::new(Empty::new());
/// request.extensions_mut().insert(ClientAddr::new("192.0.2.1:4711".parse()?));
/// assert_eq!(service.oneshot(request).await?.status(), 403);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Guard {
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
    #[cfg(feature = "serve")]
    pub(super) serve_options: crate::connection::ServeOptions,
    #[cfg(feature = "rate")]
    pub(super) rate: crate::rate::ByteRateLayer,
    pub(super) report: Report,
    pub(super) checks: Vec<Check>,
}

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

    #[cfg(feature = "serve")]
    pub(crate) fn serve_options(&self) -> &crate::connection::ServeOptions {
        &self.serve_options
    }

    /// Whether this peer is a proxy that speaks for clients of its own.
    #[cfg(feature = "serve")]
    pub(crate) fn lists_proxy(&self, peer: std::net::IpAddr) -> bool {
        self.forwarded.lists(peer)
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

    /// Returns what is enforced and what is left open. Nothing of it is logged before [`Report::log`] is
    /// called.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// [`Guard::report`] for a listener at this address: whether others can read along depends on it.
    pub fn report_on(&self, address: SocketAddr) -> Report {
        let mut report = self.report.clone();
        if self.takes_tokens_in_the_clear() && !address.ip().to_canonical().is_loopback() {
            report.warnings.insert(0, Danger::TokensInTheClear(address));
        }
        report
    }

    /// Whether each part can do its work now, for [`Admin::with_checks`](crate::admin::Admin::with_checks):
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
        Guarded::new(inner, self.clone())
    }
}
