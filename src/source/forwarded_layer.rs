use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::{Extensions, HeaderName, Request};
use ipnet::IpNet;
use tower::{Layer, Service};

use super::forwarded::{self, ForwardedHeader};
use super::{ClientAddr, SocketPeer};
use crate::Watched;
use crate::audit::metrics;

/// Takes the client's address from a header that a listed proxy sent, and removes that header from
/// what anyone else sends. It belongs outside all layers that ask for [`ClientAddr`].
#[derive(Clone, Debug)]
pub struct ForwardedLayer {
    header: ForwardedHeader,
    proxies: Watched<Vec<IpNet>>,
    told: Arc<AtomicBool>,
}

impl ForwardedLayer {
    /// Believes this header from peers in these networks. An element of a proxy chain counts only
    /// as far as every proxy right of it is in them too.
    pub fn new(header: ForwardedHeader, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        Self::watching(header, Watched::fixed(proxies.into_iter().collect()))
    }

    /// Believes this header from peers in the networks of the time of each request.
    pub fn watching(header: ForwardedHeader, proxies: Watched<Vec<IpNet>>) -> Self {
        Self {
            header,
            proxies,
            told: Arc::default(),
        }
    }
}

impl ForwardedLayer {
    fn removed(&self, name: &HeaderName, peer: Option<ClientAddr>) {
        metrics::forwarded_removed(name.as_str());
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                header = name.as_str(),
                peer = peer.map(tracing::field::display),
                "a peer that is no listed proxy tells of a client; the header is removed, from \
                 others silently"
            );
        }
    }
}

impl<S> Layer<S> for ForwardedLayer {
    type Service = Forwarded<S>;

    fn layer(&self, inner: S) -> Forwarded<S> {
        Forwarded {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`ForwardedLayer`].
#[derive(Clone, Debug)]
pub struct Forwarded<S> {
    inner: S,
    layer: ForwardedLayer,
}

impl<S, B> Service<Request<B>> for Forwarded<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let layer = &self.layer;
        let name = layer.header.name();
        if request.headers().contains_key(&name) {
            let peer = SocketPeer::of(request.extensions());
            let proxies = layer.proxies.load();
            if let Some(peer) = peer.filter(|peer| forwarded::is_proxy(&proxies, peer.ip())) {
                let client = forwarded::client(peer, &proxies, layer.header, request.headers());
                believe(request.extensions_mut(), peer, client);
            } else {
                request.headers_mut().remove(&name);
                layer.removed(&name, peer);
            }
        }
        self.inner.call(request)
    }
}

fn believe(extensions: &mut Extensions, peer: ClientAddr, client: ClientAddr) {
    extensions.insert(SocketPeer(peer));
    extensions.insert(client);
}
