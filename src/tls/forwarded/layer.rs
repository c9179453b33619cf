use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::HeaderName;
use ipnet::IpNet;

use crate::tls::Material;
use crate::{Preset, Responder, Watched};

/// The form in which proxies forward their clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedForm {
    /// Envoy's `X-Forwarded-Client-Cert`. The last element counts: that of the nearest proxy.
    Xfcc,
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    ClientCert,
    /// A header of the operator's choice with nginx's `$ssl_client_escaped_cert` in it; an empty header is
    /// none.
    Escaped(HeaderName),
    /// `X-Amzn-Mtls-Clientcert` of an Application Load Balancer in passthrough mode: the client's whole chain.
    AlbPassthrough,
    /// `X-Amzn-Mtls-Clientcert-Leaf` of an Application Load Balancer in verify mode: the client's certificate
    /// alone, so that the CA which issued it is to be a client CA itself.
    AlbVerify,
}

const ALB_CHAIN: &str = "x-amzn-mtls-clientcert";
const ALB_LEAF: &str = "x-amzn-mtls-clientcert-leaf";

impl ForwardedForm {
    /// The header with a chain in percent encoding.
    pub(super) fn escaped(&self) -> Option<HeaderName> {
        match self {
            Self::Escaped(name) => Some(name.clone()),
            Self::AlbPassthrough => Some(HeaderName::from_static(ALB_CHAIN)),
            Self::AlbVerify => Some(HeaderName::from_static(ALB_LEAF)),
            Self::Xfcc | Self::ClientCert => None,
        }
    }

    pub(super) fn uses(&self, name: &HeaderName) -> bool {
        match self {
            Self::Xfcc => name == "x-forwarded-client-cert",
            Self::ClientCert => name == "client-cert" || name == "client-cert-chain",
            Self::Escaped(own) => name == own,
            Self::AlbPassthrough => name == ALB_CHAIN,
            Self::AlbVerify => name == ALB_LEAF,
        }
    }
}

/// Gives requests of listed proxies the identity that the proxy forwards, in place of the proxy's own: the
/// certificate is verified against the server's client CAs, and its revocation looked up, as if the client had
/// connected itself. From other peers every such header is removed, counted, and logged once.
///
/// Requests on a connection whose own certificate has expired since the handshake, or whose CA was removed, are
/// refused; the headers of a proxy whose certificate is revoked are not believed.
///
/// Where a listed proxy forwards no certificate, the client has none. The layer belongs outside authentication
/// and the revocation layer, and relies on the proxy to replace what its clients send in that header.
///
/// ```no_run
/// use portcullis::reload::WatchOptions;
/// use portcullis::tls::{Builder, CertificateFiles, ClientCas, ForwardedForm, ForwardedLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let material = Builder::with_certificate(CertificateFiles::secret("/etc/registry/tls"))
///     .require_client_certificates(ClientCas::new(["/etc/registry/clients/ca.crt"]))
///     .watch(WatchOptions::default())?;
/// let proxies = ["10.0.0.7/32".parse()?];
/// let layer = ForwardedLayer::new(ForwardedForm::Xfcc, proxies, material);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ForwardedLayer {
    /// `None` where no peer is believed.
    pub(super) trusted: Option<(ForwardedForm, Watched<Material>)>,
    pub(super) proxies: Watched<Vec<IpNet>>,
    pub(super) fields: bool,
    pub(super) strict_host: bool,
    pub(super) responder: Responder,
    pub(crate) names: Arc<[HeaderName]>,
    pub(super) told: Arc<AtomicBool>,
}

impl ForwardedLayer {
    /// Believes peers in these networks, and verifies the forwarded certificates against this material's client
    /// CAs.
    pub fn new(
        form: ForwardedForm,
        proxies: impl IntoIterator<Item = IpNet>,
        material: Watched<Material>,
    ) -> Self {
        let none = Self::without_proxies();
        let names = match &form {
            ForwardedForm::Escaped(name) if !none.names.contains(name) => {
                none.names.iter().chain([name]).cloned().collect()
            }
            _ => none.names,
        };
        Self {
            trusted: Some((form, material)),
            proxies: Watched::fixed(proxies.into_iter().collect()),
            names,
            ..none
        }
    }

    /// Believes no peer: the client's certificate is the connection's.
    pub fn without_proxies() -> Self {
        let names = [
            "x-forwarded-client-cert",
            "client-cert",
            "client-cert-chain",
            "x-forwarded-tls-client-cert",
            "x-forwarded-tls-client-cert-info",
            ALB_CHAIN,
            ALB_LEAF,
            "x-amzn-mtls-clientcert-serial-number",
            "x-amzn-mtls-clientcert-issuer",
            "x-amzn-mtls-clientcert-subject",
            "x-amzn-mtls-clientcert-validity",
        ];
        Self {
            trusted: None,
            proxies: Watched::fixed(Vec::new()),
            fields: false,
            strict_host: false,
            responder: Responder::new(Preset::default()),
            names: names.map(HeaderName::from_static).into(),
            told: Arc::default(),
        }
    }

    /// Returns the form in which the proxies forward, how many networks they have, and whether fields are enough.
    pub(crate) fn believes(&self) -> Option<(&ForwardedForm, usize, bool)> {
        let (form, _) = self.trusted.as_ref()?;
        Some((form, self.proxies.load().len(), self.fields))
    }

    /// Believes peers in the latest of these networks.
    pub fn with_proxies(mut self, proxies: Watched<Vec<IpNet>>) -> Self {
        self.proxies = proxies;
        self
    }

    /// Believes an [`ForwardedForm::Xfcc`] element without a certificate by its fields. Nothing in it can be
    /// verified, and it is never revoked. Rules see its subject's attributes as those of a certificate.
    /// Default: no.
    pub fn with_trusted_fields(mut self, trusted: bool) -> Self {
        self.fields = trusted;
        self
    }

    /// Refuses requests whose host is not the name that the client asked for in the handshake of its connection
    /// (SNI), as [`Refusal::HostMismatch`](crate::Refusal::HostMismatch): a check by the one name would be answered
    /// by the other. A connection without such a name passes. Default: no.
    pub fn with_strict_host(mut self, strict: bool) -> Self {
        self.strict_host = strict;
        self
    }

    /// Removes these headers too from requests of other peers. Default: none besides the known ones.
    pub fn with_removed(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.names = self.names.iter().cloned().chain(names).collect();
        self
    }

    /// Sets the answer to refused requests. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }
}

impl fmt::Display for ForwardedForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xfcc => "x-forwarded-client-cert",
            Self::ClientCert => "client-cert",
            Self::Escaped(name) => name.as_str(),
            Self::AlbPassthrough => ALB_CHAIN,
            Self::AlbVerify => ALB_LEAF,
        })
    }
}
