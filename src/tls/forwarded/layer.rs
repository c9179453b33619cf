use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::HeaderName;
use ipnet::IpNet;
use tower::Layer;

use super::Forwarded;
use crate::tls::Material;
use crate::{Preset, Responder, Watched};

/// In which form the proxies tell of their clients' certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedForm {
    /// Envoy's `X-Forwarded-Client-Cert`. The last element counts: what the nearest proxy told.
    Xfcc,
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    ClientCert,
    /// A header of the operator's choice with nginx's `$ssl_client_escaped_cert` in it; an empty
    /// one is none.
    Escaped(HeaderName),
}

impl ForwardedForm {
    pub(super) fn uses(&self, name: &HeaderName) -> bool {
        match self {
            Self::Xfcc => name == "x-forwarded-client-cert",
            Self::ClientCert => name == "client-cert" || name == "client-cert-chain",
            Self::Escaped(own) => name == own,
        }
    }
}

/// Gives requests of listed proxies the identity that the proxy tells of, in place of the proxy's
/// own: the certificate is verified against our client CAs, and its revocation looked up, as if the
/// client had come itself. From anyone else every such header is removed, counted, and logged once.
///
/// A listed proxy that tells of nobody has a client without a certificate. It belongs outside
/// authentication and the revocation layer, and counts on the proxy to replace whatever
/// its clients send in that header.
#[derive(Clone, Debug)]
pub struct ForwardedLayer {
    pub(super) form: ForwardedForm,
    pub(super) proxies: Watched<Vec<IpNet>>,
    pub(super) material: Watched<Material>,
    pub(super) fields: bool,
    pub(super) responder: Responder,
    pub(super) names: Arc<[HeaderName]>,
    pub(super) told: Arc<AtomicBool>,
}

impl ForwardedLayer {
    /// Believes peers in these networks, and verifies what they tell against this material's client
    /// CAs.
    pub fn new(
        form: ForwardedForm,
        proxies: impl IntoIterator<Item = IpNet>,
        material: Watched<Material>,
    ) -> Self {
        let mut names = vec![
            HeaderName::from_static("x-forwarded-client-cert"),
            HeaderName::from_static("client-cert"),
            HeaderName::from_static("client-cert-chain"),
        ];
        if let ForwardedForm::Escaped(name) = &form
            && !names.contains(name)
        {
            names.push(name.clone());
        }
        Self {
            form,
            proxies: Watched::fixed(proxies.into_iter().collect()),
            material,
            fields: false,
            responder: Responder::new(Preset::default()),
            names: names.into(),
            told: Arc::default(),
        }
    }

    /// Believes the networks of the time of each request.
    pub fn with_proxies(mut self, proxies: Watched<Vec<IpNet>>) -> Self {
        self.proxies = proxies;
        self
    }

    /// Believes an [`ForwardedForm::Xfcc`] element without a certificate by its fields. Nothing in
    /// it can be verified, and it is never revoked. Default: no.
    pub fn with_trusted_fields(mut self, trusted: bool) -> Self {
        self.fields = trusted;
        self
    }

    /// Removes these headers too from requests of anyone else.
    pub fn with_removed(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.names = self.names.iter().cloned().chain(names).collect();
        self
    }

    /// Answers refused requests in this way. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }
}

impl<S> Layer<S> for ForwardedLayer {
    type Service = Forwarded<S>;

    fn layer(&self, inner: S) -> Forwarded<S> {
        Forwarded::new(inner, self.clone())
    }
}
