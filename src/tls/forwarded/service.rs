use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use http::{Extensions, Request, Response};
use tower::Service;

use super::decide::{self, Client, Refused};
use super::{ForwardedForm, ForwardedLayer};
use crate::audit::{Record, metrics};
use crate::refusal::{ResponseBody, ResponseFuture};
use crate::source::{SocketPeer, has_any, within};
use crate::tls::standing::Standing;
use crate::{ClientAddr, Connection, PeerIdentity, Refusal};

/// The service of [`ForwardedLayer`](super::ForwardedLayer).
#[derive(Clone, Debug)]
pub struct Forwarded<S> {
    inner: S,
    layer: ForwardedLayer,
}

impl<S> Forwarded<S> {
    pub(super) fn new(inner: S, layer: ForwardedLayer) -> Self {
        Self { inner, layer }
    }
}

impl<S, B, R> Service<Request<B>> for Forwarded<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Of the connection itself: of a proxy's before anything that it tells is believed.
        if let Some(refusal) = standing(request.extensions()) {
            return self.refused(&request, Refused::over(refusal));
        }
        let peer = SocketPeer::of(request.extensions());
        let proxies = self.layer.proxies.load();
        let is_proxy = |peer: ClientAddr| within(&proxies, peer.ip());
        let trusted = self.layer.trusted.as_ref();
        let Some((form, material)) = trusted.filter(|_| peer.is_some_and(is_proxy)) else {
            self.layer.remove(&mut request, peer);
            return ResponseFuture::called(self.inner.call(request));
        };
        self.layer.remove_other_forms(form, &mut request);
        let material = material.load();
        let client = unrevoked(request.extensions())
            .and_then(|()| {
                let told = decide::told(form, request.headers());
                told.map_err(|error| Refused::invalid(error.to_string()))
            })
            .and_then(|told| decide::client(told, self.layer.fields, &material));
        match client {
            Ok(client) => {
                let connection = on_behalf(&request, client);
                let extensions = request.extensions_mut();
                // What a server that ends TLS itself put there is of the proxy.
                extensions.remove::<PeerIdentity>();
                extensions.insert(connection);
                ResponseFuture::called(self.inner.call(request))
            }
            Err(refused) => self.refused(&request, refused),
        }
    }
}

impl<S> Forwarded<S> {
    fn refused<B, F>(&self, request: &Request<B>, refused: Refused) -> ResponseFuture<F> {
        let Refused { refusal, detail } = refused;
        if let Some(record) = Record::of(request.extensions()) {
            record.explained(detail);
        }
        self.layer.responder.refuse_future(refusal, request)
    }
}

/// Why the certificate of the request's connection holds no more, if it has one.
fn standing(extensions: &Extensions) -> Option<Refusal> {
    let connection = Connection::of(extensions)?;
    connection.state::<Standing>()?.refusal()
}

/// A proxy whose certificate is revoked vouches for nobody.
#[cfg(feature = "crl")]
fn unrevoked(extensions: &Extensions) -> Result<(), Refused> {
    let connection = Connection::of(extensions);
    let tracked = connection.and_then(Connection::state::<crate::crl::Tracked>);
    match tracked.filter(|tracked| !tracked.is_good()) {
        None => Ok(()),
        Some(tracked) => {
            let verdict = tracked.verdict();
            let refusal = verdict.refusal().map(|refusal| Refused {
                refusal,
                detail: format!("of the proxy's own certificate: {verdict}").into(),
            });
            refusal.map_or(Ok(()), Err)
        }
    }
}

#[cfg(not(feature = "crl"))]
#[allow(clippy::unnecessary_wraps, reason = "nothing is revoked without CRLs")]
fn unrevoked(_: &Extensions) -> Result<(), Refused> {
    Ok(())
}

impl ForwardedLayer {
    /// The proxy answers for its own form only; what its clients wrote in another is theirs.
    fn remove_other_forms<B>(&self, form: &ForwardedForm, request: &mut Request<B>) {
        for name in &*self.names {
            if !form.uses(name) {
                request.headers_mut().remove(name);
            }
        }
    }

    fn remove<B>(&self, request: &mut Request<B>, peer: Option<ClientAddr>) {
        if !has_any(request.headers(), self.names.iter()) {
            return;
        }
        for name in &*self.names {
            if request.headers_mut().remove(name).is_none() {
                continue;
            }
            metrics::forwarded_removed(name.as_str());
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    header = name.as_str(),
                    peer = peer.map(tracing::field::display),
                    "a peer that is no listed proxy tells of a client certificate; the header is \
                     removed, from others silently"
                );
            }
        }
    }
}

/// The request's connection with the client in the proxy's place: neither the proxy's certificate
/// nor a verdict on it is the client's.
fn on_behalf<B>(request: &Request<B>, client: Client) -> Connection {
    let extensions = request.extensions();
    // A peer that is known to be a listed proxy has an address.
    let unknown = ClientAddr::new(SocketAddr::from(([0, 0, 0, 0], 0)));
    let address = ClientAddr::of(extensions).unwrap_or(unknown);
    let mut builder = Connection::builder(SocketAddr::new(address.ip(), address.port()));
    if let Some(proxy) = Connection::of(extensions) {
        builder = builder.within(proxy);
    }
    match client {
        Client::Nobody => {}
        Client::Vouched(identity) => builder = builder.identity(identity),
        Client::Verified(passed) => {
            builder = builder.identity(passed.verified.identity.clone());
            #[cfg(feature = "crl")]
            if let Some(tracked) = passed.tracked {
                builder = builder.state(tracked);
            }
        }
    }
    builder.build()
}
