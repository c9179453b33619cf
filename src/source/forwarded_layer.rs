use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Extensions, HeaderName};
use ipnet::IpNet;
use tower::Layer;

use super::forwarded::{self, ForwardedHeader};
use super::proxy_headers;
use crate::ClientAddr;
use crate::Watched;
use crate::connection::SocketPeer;
use crate::middleware::{Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::record::Record;
use crate::telemetry::metrics;

/// Takes the client's address from a header that a listed proxy sent, and removes the headers of proxies from
/// the requests of other peers: `Forwarded`, all of `X-Forwarded-*`, `X-Real-IP`, `X-Original-URL`,
/// `X-Rewrite-URL`, `X-HTTP-Method-Override` and their kin, with underscores too. A service that believes
/// `X-Forwarded-Host` would send clients wherever one of them says.
///
/// Listed proxies' headers pass, and a proxy must replace what its clients send in them. Of `Forwarded` and
/// `X-Forwarded-For` the one that is not read is removed from proxies' requests too: the proxies' clients wrote
/// it. Client certificates (`X-Forwarded-Client-Cert`) are left to
/// [`tls::ForwardedLayer`](crate::tls::ForwardedLayer).
///
/// The layer belongs outside all layers that read [`ClientAddr`].
///
/// ```
/// use std::convert::Infallible;
///
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Full};
/// use portcullis::source::ForwardedLayer;
/// use portcullis::{ClientAddr, Connection};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = ForwardedLayer::x_forwarded_for(vec!["10.0.0.7/32".parse()?]);
/// let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
///     let client = ClientAddr::of(request.extensions()).map(|client| client.ip().to_string());
///     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(client.unwrap_or_default()))))
/// }));
///
/// let request = Request::get("/v2/").header("x-forwarded-for", "192.0.2.1");
/// let mut request = request.body(Full::default())?;
/// let connection = Connection::builder("10.0.0.7:4711".parse()?).build();
/// request.extensions_mut().insert(connection);
/// let client = service.oneshot(request).await?.into_body().collect().await?;
/// assert_eq!(client.to_bytes(), "192.0.2.1");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ForwardedLayer {
    /// `None` where no address is taken.
    header: Option<ForwardedHeader>,
    proxies: Watched<Vec<IpNet>>,
    /// What another layer removes.
    spared: Arc<[HeaderName]>,
    told: Arc<AtomicBool>,
}

impl ForwardedLayer {
    /// Takes the address from `X-Forwarded-For` of peers in these networks. An element of a proxy chain counts only
    /// as far as every proxy right of it is in these networks too.
    pub fn x_forwarded_for(proxies: impl Into<Watched<Vec<IpNet>>>) -> Self {
        Self::believing(ForwardedHeader::XForwardedFor, proxies)
    }

    /// Takes the address from the `for` parameters of `Forwarded` (RFC 7239), as
    /// [`x_forwarded_for`](Self::x_forwarded_for) does from its header.
    pub fn forwarded(proxies: impl Into<Watched<Vec<IpNet>>>) -> Self {
        Self::believing(ForwardedHeader::Forwarded, proxies)
    }

    pub(crate) fn believing(
        header: ForwardedHeader,
        proxies: impl Into<Watched<Vec<IpNet>>>,
    ) -> Self {
        Self {
            header: Some(header),
            ..Self::without_address(proxies)
        }
    }

    /// Lets the headers of peers in these networks pass to the service and takes no address from them:
    /// the client is the socket's peer.
    pub fn without_address(proxies: impl Into<Watched<Vec<IpNet>>>) -> Self {
        Self {
            header: None,
            proxies: proxies.into(),
            spared: Arc::default(),
            told: Arc::default(),
        }
    }

    /// Trusts no peer: the client is the socket's peer, and the headers of proxies are removed.
    pub fn without_proxies() -> Self {
        Self::without_address(Watched::fixed(Vec::new()))
    }

    /// Leaves these headers alone, since another layer deals with them.
    #[cfg(feature = "tls")]
    pub(crate) fn sparing(mut self, names: Arc<[HeaderName]>) -> Self {
        self.spared = names;
        self
    }

    /// The header in which the proxies forward addresses, and their networks.
    pub(crate) fn believes(&self) -> (Option<ForwardedHeader>, Vec<IpNet>) {
        (self.header, self.proxies.load().to_vec())
    }

    /// Returns whether this peer is one of the proxies.
    #[cfg(feature = "serve")]
    pub(crate) fn lists(&self, peer: std::net::IpAddr) -> bool {
        forwarded::is_proxy(&self.proxies.load(), peer)
    }

    /// Removes what its sender must not send, and takes the client's address from what is left.
    pub(crate) fn apply(&self, request: &mut Head) {
        let found = proxy_headers::among(request.headers(), &self.spared);
        if found.is_empty() {
            return;
        }
        let peer = SocketPeer::of(request.extensions());
        let proxies = self.proxies.load();
        let proxy = peer.filter(|peer| forwarded::is_proxy(&proxies, peer.ip()));
        let Some(proxy) = proxy else {
            for (name, label) in found {
                request.headers_mut().remove(&name);
                self.removed(&name, label, peer);
            }
            return;
        };
        for other in ForwardedHeader::ALL {
            if self.header != Some(other) {
                request.headers_mut().remove(other.name());
            }
        }
        if let Some(header) = self.header
            && request.headers().contains_key(header.name())
        {
            let client = forwarded::client(proxy, &proxies, header, request.headers());
            believe(request.extensions_mut(), proxy, client);
        }
    }

    fn removed(&self, name: &HeaderName, label: &'static str, peer: Option<ClientAddr>) {
        metrics::forwarded_removed(label);
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                header = name.as_str(),
                peer = peer.map(tracing::field::display),
                "a peer that is no listed proxy sent a proxy's header; it is removed, from others \
                 silently. If the peer is a proxy of yours, list its network under [forwarded] proxies"
            );
        }
    }
}

impl<S> Layer<S> for ForwardedLayer {
    type Service = Forwarded<S>;

    fn layer(&self, inner: S) -> Forwarded<S> {
        Forwarded::new(inner, self.clone())
    }
}

/// The service of [`ForwardedLayer`]. It refuses nothing.
pub type Forwarded<S> = Checked<S, ForwardedLayer>;

impl<S> Forwarded<S> {
    /// Puts `inner` behind `layer`.
    pub fn new(inner: S, layer: ForwardedLayer) -> Self {
        Self::with(inner, layer)
    }
}

impl<B> Wraps<B> for ForwardedLayer {
    type Body = B;
}

impl<B> Check<B> for ForwardedLayer {
    fn check(&self, head: &mut Head, _: &B, _: &mut Kept) -> Outcome {
        self.apply(head);
        Outcome::Pass
    }

    fn wrap(body: B, _: Parts) -> B {
        body
    }
}

fn believe(extensions: &mut Extensions, proxy: ClientAddr, client: ClientAddr) {
    extensions.insert(SocketPeer(proxy));
    extensions.insert(client);
    if let Some(record) = Record::of(extensions) {
        record.came_from(client);
    }
}
