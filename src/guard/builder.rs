#[cfg(feature = "policy")]
use std::sync::Arc;

use super::Guard;
use crate::access_log::AccessLogLayer;
#[cfg(feature = "auth")]
use crate::auth::{Authentication, TokenAuthLayer};
#[cfg(feature = "crl")]
use crate::crl::RevocationLayer;
#[cfg(feature = "auth")]
use crate::identity::Mapping;
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
    #[cfg(feature = "policy")]
    pub(super) policy: Option<PolicyLayer>,
    #[cfg(feature = "digest-binding")]
    pub(super) digest_binding: Option<BindingLayer>,
    #[cfg(all(feature = "config", feature = "digest-binding"))]
    pub(super) digest_oracle: Option<Oracle>,
    /// What is doubtful in the configuration.
    #[cfg(feature = "config")]
    pub(super) advice: Vec<super::Danger>,
    /// The file with the policy.
    #[cfg(all(feature = "policy", any(feature = "auth", feature = "digest-binding")))]
    pub(super) policy_file: Option<Arc<std::path::Path>>,
    #[cfg(feature = "rate")]
    pub(super) limits: Option<Watched<Limits>>,
    #[cfg(feature = "tls")]
    pub(super) acceptor: Option<Acceptor>,
    #[cfg(feature = "crl")]
    pub(super) revocation: RevocationLayer,
}

/// Whom to ask about digests.
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
            forwarded: ForwardedLayer::nobody(),
            #[cfg(feature = "tls")]
            forwarded_certificate: tls::ForwardedLayer::nobody(),
            #[cfg(feature = "auth")]
            authentication: None,
            #[cfg(feature = "auth")]
            mapping: None,
            #[cfg(feature = "auth")]
            pass_authorization: false,
            #[cfg(feature = "policy")]
            policy: None,
            #[cfg(feature = "digest-binding")]
            digest_binding: None,
            #[cfg(all(feature = "config", feature = "digest-binding"))]
            digest_oracle: None,
            #[cfg(feature = "config")]
            advice: Vec::new(),
            #[cfg(all(feature = "policy", any(feature = "auth", feature = "digest-binding")))]
            policy_file: None,
            #[cfg(feature = "rate")]
            limits: None,
            #[cfg(feature = "tls")]
            acceptor: None,
            #[cfg(feature = "crl")]
            revocation: RevocationLayer::new(),
        }
    }
}

impl Builder {
    /// Answers refused requests in this way, in every layer. Default: [`Preset::Mirror`].
    pub fn responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }

    /// Logs in this way.
    pub fn access_log(mut self, layer: AccessLogLayer) -> Self {
        self.access_log = layer;
        self
    }

    /// Which networks may ask at all.
    pub fn networks(mut self, networks: impl Into<Watched<Networks>>) -> Self {
        self.networks = Some(networks.into());
        self
    }

    /// Which proxies tell their clients' addresses, and whose `X-Forwarded-*` and kindred headers reach
    /// the service. Without it all such headers are removed.
    pub fn forwarded(mut self, layer: ForwardedLayer) -> Self {
        self.forwarded = layer;
        self
    }

    /// Which proxies tell their clients' certificates. Without it nobody does, and what is told is
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

    /// What callers must show. Without it, whoever has a certificate is known by it and everybody
    /// else is anonymous.
    #[cfg(feature = "auth")]
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.authentication = Some(authentication);
        self
    }

    /// Who the holder of a client certificate is. Without it, whom the certificate names, in no
    /// groups.
    #[cfg(feature = "auth")]
    pub fn mapping(mut self, mapping: impl Into<Watched<Mapping>>) -> Self {
        self.mapping = Some(mapping.into());
        self
    }

    /// Leaves `Authorization` on the requests that the service gets, marked sensitive. Default: it is taken
    /// off.
    #[cfg(feature = "auth")]
    pub fn authorization_passed_on(mut self, pass: bool) -> Self {
        self.pass_authorization = pass;
        self
    }

    /// Who may do what. Without it everything is allowed that has one reading as an OCI route.
    #[cfg(feature = "policy")]
    pub fn policy(self, policy: impl Into<Watched<Policy>>) -> Self {
        self.policy_layer(PolicyLayer::watching(policy.into()))
    }

    /// As [`Builder::policy`], for a layer with a shadow policy or a tag oracle.
    #[cfg(feature = "policy")]
    pub fn policy_layer(mut self, layer: PolicyLayer) -> Self {
        self.policy = Some(layer);
        self
    }

    /// Gives content only by repositories that lead to it. Default: by any that may be pulled.
    #[cfg(feature = "digest-binding")]
    pub fn digest_binding(mut self, layer: BindingLayer) -> Self {
        self.digest_binding = Some(layer);
        self
    }

    /// Whom a configuration with `unknown = "ask"` under `[policy.digest_binding]` asks. Set it before
    /// [`Builder::configure`].
    #[cfg(all(feature = "config", feature = "digest-binding"))]
    pub fn digest_oracle(mut self, oracle: impl DigestOracle + 'static) -> Self {
        self.digest_oracle = Some(Oracle(Arc::new(oracle)));
        self
    }

    /// Keeps the acceptor whose connections this guards, for [`Guard::acceptor`].
    #[cfg(feature = "tls")]
    pub fn acceptor(mut self, acceptor: Acceptor) -> Self {
        self.acceptor = Some(acceptor);
        self
    }

    /// How fast bodies may go.
    #[cfg(feature = "rate")]
    pub fn limits(mut self, limits: impl Into<Watched<Limits>>) -> Self {
        self.limits = Some(limits.into());
        self
    }

    /// Checks on each request in this way that the certificate has not been revoked since the
    /// handshake. Without it, a connection without a certificate passes.
    #[cfg(feature = "crl")]
    pub fn revocation(mut self, layer: RevocationLayer) -> Self {
        self.revocation = layer;
        self
    }

    /// The finished guard.
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
            auth: TokenAuthLayer::new(match self.mapping {
                Some(mapping) => authentication.with_mapping(mapping),
                None => authentication,
            })
            .with_authorization_passed_on(self.pass_authorization)
            .with_responder(self.responder.clone()),
            #[cfg(feature = "crl")]
            revocation: self.revocation.with_responder(self.responder.clone()),
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
            #[cfg(feature = "rate")]
            rate: self
                .limits
                .map_or_else(
                    || ByteRateLayer::new(Limits::none()),
                    ByteRateLayer::watching,
                )
                .with_responder(self.responder),
            report,
            checks,
        }
    }
}
