use std::net::SocketAddr;

use super::{Report, SecurityWarning};
use crate::Responder;
use crate::access_log::AccessLogLayer;
use crate::admin::Check;
use crate::oci::BasePath;
use crate::source::{ForwardedLayer, SourceLayer};

/// The checks that a configuration names, in the one right order, as one layer. See the [module](super).
///
/// A request of HTTP/1.1 without a `Host`, and any with several, is 400 (RFC 9112 §3.2). With an acceptor, a revocation
/// check or a throttle of failed logins, a request of which the connection is not known is 503 instead of unchecked, and
/// the log says how to wire the server; `Guard::make_service` (feature `axum`) does it for axum. A guard belongs around the
/// whole router, not into `nest("/v2", …)`: see "Where to put the guard" in `docs/wiring.md`.
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
/// let request = Request::get("/v2/").header("host", "registry.example");
/// let mut request = request.body(Empty::new())?;
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
    #[cfg(feature = "auth")]
    pub(super) client_warnings: crate::client_warning::ClientWarningLayer,
    /// Whether a check needs to know the connection of each request.
    pub(super) needs_connection: bool,
    pub(super) base_path: Option<BasePath>,
    pub(super) responder: Responder,
    pub(super) report: Report,
    pub(super) checks: Vec<Check>,
}

impl Guard {
    /// Puts the guard around `router`, and makes of the two what `axum::serve` serves, each request with its
    /// [`Connection`](crate::Connection): on a plain `TcpListener`, or on a `tls::Listener` if the guard has an
    /// acceptor.
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use portcullis::Guard;
    ///
    /// # async fn serve(guard: Guard) -> std::io::Result<()> {
    /// let app = Router::new().route("/v2/", get(|| async { "{}" }));
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:5000").await?;
    /// axum::serve(listener, guard.make_service(app)).await
    /// # }
    /// ```
    #[cfg(feature = "axum")]
    pub fn make_service(
        &self,
        router: axum::Router,
    ) -> axum::extract::connect_info::IntoMakeServiceWithConnectInfo<axum::Router, crate::Connection>
    {
        router
            .layer(self.clone())
            .into_make_service_with_connect_info()
    }

    /// Returns the TLS acceptor of the configuration; `None` if it has no `[tls]`.
    #[cfg(feature = "tls")]
    pub fn acceptor(&self) -> Option<&crate::tls::Acceptor> {
        self.acceptor.as_ref()
    }

    #[cfg(feature = "serve")]
    pub(crate) fn serve_options(&self) -> &crate::connection::ServeOptions {
        &self.serve_options
    }

    /// Returns whether this peer is a proxy that speaks for clients of its own.
    #[cfg(feature = "serve")]
    pub(crate) fn lists_proxy(&self, peer: std::net::IpAddr) -> bool {
        self.forwarded.lists(peer)
    }

    /// Sets the oracle by which the policy distinguishes the making of a tag from its change. Default: a caller that
    /// sets a tag must be allowed both.
    #[cfg(feature = "policy")]
    pub fn with_tag_oracle(mut self, oracle: impl crate::policy::TagOracle + 'static) -> Self {
        self.policy = self.policy.with_tag_oracle(oracle);
        self
    }

    /// Writes the state that is to outlive a restart, that is the known digests, if a file is named for them.
    /// The guard does so from time to time by itself; call this function when the last request is answered.
    /// Blocks until the file is on the disk.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    #[cfg(feature = "digest-binding")]
    pub fn save(&self) -> Result<(), crate::policy::PolicyError> {
        self.digest_binding.save()
    }

    /// Reports to the server of a fleet what was sent last. The guard does so a few times a second by itself;
    /// call this function when the last request is answered.
    #[cfg(feature = "redis")]
    pub async fn flush(&self) {
        self.rate.flush().await;
    }

    /// Returns what is enforced and what is left open. Nothing of it is logged before [`Report::log`] is
    /// called.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns [`Guard::report`] for a listener at this address: whether others can read along depends on the
    /// address.
    pub fn report_on(&self, address: SocketAddr) -> Report {
        let mut report = self.report.clone();
        if self.takes_tokens_in_the_clear() && !address.ip().to_canonical().is_loopback() {
            report
                .warnings
                .insert(0, SecurityWarning::TokensInTheClear(address));
        }
        report
    }

    /// Returns a check for each part, for [`Admin::with_checks`](crate::admin::Admin::with_checks): whether the
    /// last reload of networks, credentials, policies, limits, certificates and CRLs failed, and whether a
    /// certificate or CRL has ended.
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
