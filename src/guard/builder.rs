#[cfg(all(feature = "policy", any(feature = "auth", feature = "digest-binding")))]
use std::sync::Arc;

use super::Guard;
use crate::access_log::AccessLogLayer;
#[cfg(feature = "auth")]
use crate::auth::{Authenticate, Authenticating, Authentication, TokenAuthLayer};
#[cfg(feature = "auth")]
use crate::client_warning::ClientWarningLayer;
#[cfg(feature = "crl")]
use crate::crl::RevocationLayer;
#[cfg(feature = "auth")]
use crate::identity::Mapping;
use crate::oci::BasePath;
#[cfg(feature = "digest-binding")]
use crate::policy::BindingLayer;
#[cfg(all(feature = "config", feature = "digest-binding"))]
use crate::policy::DigestOracle;
#[cfg(feature = "policy")]
use crate::policy::{Policy, PolicyLayer};
#[cfg(feature = "rate")]
use crate::rate::{ByteRateLayer, Limits};
use crate::source::{ForwardedLayer, Networks, SourceLayer};
#[cfg(feature = "tls")]
use crate::tls::{self, Acceptor};
use crate::{Preset, Responder, Watched};

/// Makes a [`Guard`]. What is not set is not enforced.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    pub(super) responder: Responder,
    access_log: AccessLogLayer,
    pub(super) networks: Option<Watched<Networks>>,
    pub(super) forwarded: ForwardedLayer,
    #[cfg(feature = "tls")]
    pub(super) forwarded_certificate: tls::ForwardedLayer,
    #[cfg(feature = "auth")]
    pub(super) authentication: Option<Authentication>,
    #[cfg(feature = "auth")]
    pub(super) mapping: Option<Watched<Mapping>>,
    #[cfg(feature = "auth")]
    pub(super) pass_authorization: bool,
    #[cfg(feature = "auth")]
    pub(super) authenticator: Option<Program>,
    pub(super) base_path: Option<BasePath>,
    #[cfg(feature = "policy")]
    pub(super) policy: Option<PolicyLayer>,
    #[cfg(feature = "digest-binding")]
    pub(super) digest_binding: Option<BindingLayer>,
    #[cfg(all(feature = "config", feature = "digest-binding"))]
    pub(super) digest_oracle: Option<Oracle>,
    /// What is doubtful in the configuration.
    #[cfg(feature = "config")]
    pub(super) advice: Vec<super::SecurityWarning>,
    /// What has changed in the configuration's file without effect.
    #[cfg(feature = "config")]
    pub(super) restart: Option<Watched<super::restart::Changes>>,
    /// The file with the policy.
    #[cfg(all(feature = "policy", any(feature = "auth", feature = "digest-binding")))]
    pub(super) policy_file: Option<Arc<std::path::Path>>,
    #[cfg(feature = "rate")]
    pub(super) limits: Option<Watched<Limits>>,
    #[cfg(feature = "tls")]
    pub(super) acceptor: Option<Acceptor>,
    #[cfg(feature = "crl")]
    pub(super) revocation: Option<RevocationLayer>,
    #[cfg(feature = "auth")]
    pub(super) client_warnings: ClientWarningLayer,
    #[cfg(feature = "serve")]
    pub(super) serve_options: crate::connection::ServeOptions,
}

/// The program's own way to find out who asks.
#[cfg(feature = "auth")]
pub(super) struct Program(Box<dyn Authenticate>);

#[cfg(feature = "auth")]
impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Program")
    }
}

#[cfg(feature = "auth")]
impl Authenticate for Program {
    fn authenticate(&self, head: &http::Request<()>) -> Authenticating {
        self.0.authenticate(head)
    }
}

/// The service to ask about digests.
#[cfg(all(feature = "config", feature = "digest-binding"))]
#[derive(Clone)]
pub(super) struct Oracle(pub(super) Arc<dyn DigestOracle>);

#[cfg(all(feature = "config", feature = "digest-binding"))]
impl std::fmt::Debug for Oracle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Oracle")
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            responder: Responder::new(Preset::default()),
            access_log: AccessLogLayer::new(),
            networks: None,
            forwarded: ForwardedLayer::without_proxies(),
            #[cfg(feature = "tls")]
            forwarded_certificate: tls::ForwardedLayer::without_proxies(),
            #[cfg(feature = "auth")]
            authentication: None,
            #[cfg(feature = "auth")]
            mapping: None,
            #[cfg(feature = "auth")]
            pass_authorization: false,
            #[cfg(feature = "auth")]
            authenticator: None,
            base_path: None,
            #[cfg(feature = "policy")]
            policy: None,
            #[cfg(feature = "digest-binding")]
            digest_binding: None,
            #[cfg(all(feature = "config", feature = "digest-binding"))]
            digest_oracle: None,
            #[cfg(feature = "config")]
            advice: Vec::new(),
            #[cfg(feature = "config")]
            restart: None,
            #[cfg(all(feature = "policy", any(feature = "auth", feature = "digest-binding")))]
            policy_file: None,
            #[cfg(feature = "rate")]
            limits: None,
            #[cfg(feature = "tls")]
            acceptor: None,
            #[cfg(feature = "crl")]
            revocation: None,
            #[cfg(feature = "auth")]
            client_warnings: ClientWarningLayer::new(),
            #[cfg(feature = "serve")]
            serve_options: crate::connection::ServeOptions::default(),
        }
    }
}

impl Guard {
    /// Begins a guard that enforces nothing yet.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Sets the answer to refused requests, in every layer. Default: [`Preset::Mirror`].
    pub fn responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }

    /// Sets the access log. Default: [`AccessLogLayer::new`].
    pub fn access_log(mut self, layer: AccessLogLayer) -> Self {
        self.access_log = layer;
        self
    }

    /// Sets which networks may send requests. Default: every network.
    pub fn networks(mut self, networks: impl Into<Watched<Networks>>) -> Self {
        self.networks = Some(networks.into());
        self
    }

    /// Sets which proxies report their clients' addresses, and whose `X-Forwarded-*` and kindred headers reach
    /// the service. Default: none; all such headers are removed.
    pub fn forwarded(mut self, layer: ForwardedLayer) -> Self {
        self.forwarded = layer;
        self
    }

    /// Sets which proxies forward their clients' certificates. Default: none; forwarded certificates are
    /// removed.
    #[cfg(feature = "tls")]
    pub fn forwarded_certificate(mut self, layer: tls::ForwardedLayer) -> Self {
        self.forwarded_certificate = layer;
        self
    }

    /// Refuses requests whose host is not the name that the client asked for in its TLS handshake. Set it after
    /// [`Builder::forwarded_certificate`]. Default: no.
    #[cfg(feature = "tls")]
    pub fn strict_host(mut self, strict: bool) -> Self {
        self.forwarded_certificate = self.forwarded_certificate.with_strict_host(strict);
        self
    }

    /// Sets the credentials that callers must send. Default: a caller with a certificate is known by it, and
    /// every other caller is anonymous.
    #[cfg(feature = "auth")]
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// Sets how a client certificate becomes an id and groups. Default: the id is the certificate's name,
    /// without groups.
    #[cfg(feature = "auth")]
    pub fn mapping(mut self, mapping: impl Into<Watched<Mapping>>) -> Self {
        self.mapping = Some(mapping.into());
        self
    }

    /// Asks the program itself first who calls: see [`Authenticate`]. What it has no answer to is left to
    /// [`Builder::authentication`]. Set it before `configure`, which warns of callers that cannot be.
    #[cfg(feature = "auth")]
    pub fn authenticate_with(mut self, program: impl Authenticate + 'static) -> Self {
        self.authenticator = Some(Program(Box::new(program)));
        self
    }

    /// Reads paths as what is left of those under `base`: `/v2` where the guard stands inside of
    /// `nest("/v2", …)` or of another router that takes a prefix off. Better, the guard stands around the whole router.
    ///
    /// Default: a path is read as it is or, with the feature `axum`, as axum's `OriginalUri` has it if that is under
    /// `/v2/`; and a path that looks as if `/v2` had been taken off is refused. `/` says that nothing is taken off:
    /// then each path is read as it is.
    pub fn base_path(mut self, base: &str) -> Self {
        self.base_path = Some(BasePath::new(base));
        self
    }

    /// Sets whether `Authorization` stays on the requests that the service gets, marked sensitive. Default: it
    /// is removed.
    #[cfg(feature = "auth")]
    pub fn authorization_passed_on(mut self, pass: bool) -> Self {
        self.pass_authorization = pass;
        self
    }

    /// Sets which caller may do what. Default: every request is allowed that has one reading as an OCI route.
    #[cfg(feature = "policy")]
    pub fn policy(self, policy: impl Into<Watched<Policy>>) -> Self {
        self.policy_layer(PolicyLayer::watching(policy.into()))
    }

    /// Sets the policy as [`Builder::policy`] does, by a layer with a shadow policy or a tag oracle.
    #[cfg(feature = "policy")]
    pub fn policy_layer(mut self, layer: PolicyLayer) -> Self {
        self.policy = Some(layer);
        self
    }

    /// Serves content only through repositories that lead to it. Default: through any that may be pulled.
    #[cfg(feature = "digest-binding")]
    pub fn digest_binding(mut self, layer: BindingLayer) -> Self {
        self.digest_binding = Some(layer);
        self
    }

    /// Sets the service that a configuration with `unknown = "ask"` under `[policy.digest_binding]` asks about
    /// digests. Call this before [`Builder::configure`].
    #[cfg(all(feature = "config", feature = "digest-binding"))]
    pub fn digest_oracle(mut self, oracle: impl DigestOracle + 'static) -> Self {
        self.digest_oracle = Some(Oracle(Arc::new(oracle)));
        self
    }

    /// Keeps the acceptor whose connections the guard gets, for [`Guard::acceptor`]. Requests without a
    /// [`Connection`](crate::Connection) are refused then.
    #[cfg(feature = "tls")]
    pub fn acceptor(mut self, acceptor: Acceptor) -> Self {
        self.acceptor = Some(acceptor);
        self
    }

    /// Sets the byte-rate limits. Default: none.
    #[cfg(feature = "rate")]
    pub fn limits(mut self, limits: impl Into<Watched<Limits>>) -> Self {
        self.limits = Some(limits.into());
        self
    }

    /// Sets how each request is checked for a certificate that was revoked since the handshake. Default: as by
    /// [`RevocationLayer::new`], by which a connection without a certificate passes. Requests without a
    /// [`Connection`](crate::Connection) are refused where this is set.
    #[cfg(feature = "crl")]
    pub fn revocation(mut self, layer: RevocationLayer) -> Self {
        self.revocation = Some(layer);
        self
    }

    /// Sets what callers are warned of in the answers to requests that are allowed;
    /// [`ClientWarningLayer::off`] of nothing. Default: [`ClientWarningLayer::new`].
    #[cfg(feature = "auth")]
    pub fn client_warnings(mut self, layer: ClientWarningLayer) -> Self {
        self.client_warnings = layer;
        self
    }

    /// Returns whether a caller may be in this group, by the credentials, the rules of identity and the issuers
    /// set so far; for a program with a setting about groups, which
    /// [`SecurityWarning::UnknownGroupOfSetting`](super::SecurityWarning::UnknownGroupOfSetting) is for.
    #[cfg(feature = "config")]
    pub fn may_have_group(&self, group: &str) -> bool {
        self.groups().may_have(group)
    }

    /// Returns the finished guard.
    pub fn build(self) -> Guard {
        let report = self.report();
        let checks = self.checks();
        let networks = self
            .networks
            .unwrap_or_else(|| Networks::allow_all().into());
        #[cfg(feature = "auth")]
        let authentication = self
            .authentication
            .unwrap_or_else(|| Authentication::certificate().or_anonymous());
        #[cfg(feature = "auth")]
        let auth = TokenAuthLayer::new(match self.mapping {
            Some(mapping) => authentication.with_mapping(mapping),
            None => authentication,
        })
        .with_authorization_passed_on(self.pass_authorization)
        .with_responder(self.responder.clone());
        #[cfg(feature = "crl")]
        let revocation = match self.revocation {
            Some(layer) => layer,
            None if self.acceptor.is_some() => RevocationLayer::new(),
            None => RevocationLayer::without_connections(),
        };
        Guard {
            access_log: self.access_log,
            #[cfg(feature = "tls")]
            forwarded: self
                .forwarded
                .sparing(self.forwarded_certificate.names.clone()),
            #[cfg(not(feature = "tls"))]
            forwarded: self.forwarded,
            #[cfg(feature = "tls")]
            forwarded_certificate: self
                .forwarded_certificate
                .with_responder(self.responder.clone()),
            source: SourceLayer::watching(networks).with_responder(self.responder.clone()),
            #[cfg(feature = "auth")]
            auth: match self.authenticator {
                Some(program) => auth.with_authenticator(program),
                None => auth,
            },
            #[cfg(feature = "crl")]
            needs_connection: revocation.requires_connection(),
            #[cfg(all(feature = "tls", not(feature = "crl")))]
            needs_connection: self.acceptor.is_some(),
            #[cfg(not(feature = "tls"))]
            needs_connection: false,
            #[cfg(feature = "crl")]
            revocation: revocation.with_responder(self.responder.clone()),
            #[cfg(feature = "policy")]
            policy: self
                .policy
                .unwrap_or_else(|| PolicyLayer::new(Policy::open()))
                .with_responder(self.responder.clone()),
            #[cfg(feature = "digest-binding")]
            digest_binding: self
                .digest_binding
                .unwrap_or_else(BindingLayer::open)
                .with_responder(self.responder.clone()),
            #[cfg(feature = "tls")]
            acceptor: self.acceptor,
            #[cfg(feature = "serve")]
            serve_options: self.serve_options,
            #[cfg(feature = "rate")]
            rate: {
                let rate = self
                    .limits
                    .map_or_else(
                        || ByteRateLayer::new(Limits::none()),
                        ByteRateLayer::watching,
                    )
                    .with_responder(self.responder.clone());
                #[cfg(feature = "auth")]
                let rate = rate.with_quota_notices(self.client_warnings.is_on());
                rate
            },
            #[cfg(feature = "auth")]
            client_warnings: self.client_warnings,
            base_path: self.base_path,
            responder: self.responder,
            report,
            checks,
        }
    }
}
