use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::{Extensions, HeaderName, Request};
use ipnet::IpNet;
use tower::{Layer, Service};

use super::forwarded::{self, ForwardedHeader};
use super::{ClientAddr, SocketPeer};
use crate::Watched;
use crate::audit::{Record, metrics};

/// Takes the client's address from a header that a listed proxy sent, and removes both such headers
/// from what anyone else sends. The header in which the proxies do not tell is removed from what they
/// send too: what is in it, their clients wrote.
///
/// It belongs outside all layers that ask for [`ClientAddr`].
#[derive(Clone, Debug)]
pub struct ForwardedLayer {
    /// `None` where nobody is believed.
    header: Option<ForwardedHeader>,
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
            header: Some(header),
            proxies,
            told: Arc::default(),
        }
    }

    /// Believes nobody: the client is the socket's peer.
    pub fn nobody() -> Self {
        Self {
            header: None,
            proxies: Watched::fixed(Vec::new()),
            told: Arc::default(),
        }
    }

    /// In which header the proxies tell, and where they are.
    pub(crate) fn believes(&self) -> Option<(ForwardedHeader, Vec<IpNet>)> {
        self.header
            .map(|header| (header, self.proxies.load().to_vec()))
    }

    /// Takes the client's address from what a listed proxy says, and removes what anyone else does.
    pub(crate) fn apply<B>(&self, request: &mut Request<B>) {
        let told = ForwardedHeader::ALL.map(|header| (header, header.name()));
        if !forwarded::has_any(request.headers(), told.iter().map(|(_, name)| *name)) {
            return;
        }
        let peer = SocketPeer::of(request.extensions());
        let proxies = self.proxies.load();
        let is_proxy = |peer: &ClientAddr| forwarded::is_proxy(&proxies, peer.ip());
        let proxy = peer.filter(is_proxy);
        for (header, name) in told {
            match proxy {
                Some(_) if self.header == Some(header) => {}
                Some(_) => {
                    request.headers_mut().remove(name);
                }
                None if request.headers_mut().remove(name).is_some() => {
                    self.removed(name, peer);
                }
                None => {}
            }
        }
        if let (Some(proxy), Some(header)) = (proxy, self.header) {
            let client = forwarded::client(proxy, &proxies, header, request.headers());
            believe(request.extensions_mut(), proxy, client);
        }
    }

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
        Forwarded::new(inner, self.clone())
    }
}

/// The service of [`ForwardedLayer`]. It refuses nothing, so requests and answers keep their bodies.
#[derive(Clone, Debug)]
pub struct Forwarded<S> {
    inner: S,
    layer: ForwardedLayer,
}

impl<S> Forwarded<S> {
    /// Puts `inner` behind `layer`.
    pub fn new(inner: S, layer: ForwardedLayer) -> Self {
        Self { inner, layer }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
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
        self.layer.apply(&mut request);
        self.inner.call(request)
    }
}

fn believe(extensions: &mut Extensions, proxy: ClientAddr, client: ClientAddr) {
    extensions.insert(SocketPeer(proxy));
    extensions.insert(client);
    if let Some(record) = Record::of(extensions) {
        record.came_from(client);
    }
}
