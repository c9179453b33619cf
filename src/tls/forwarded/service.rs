use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use http::Extensions;
use tower::Layer;

use super::decide::{self, Client, Refused};
use super::host;
use super::{ForwardedForm, ForwardedLayer};
use crate::connection::SocketPeer;
use crate::middleware::{Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::record::Record;
use crate::source::within;
use crate::telemetry::metrics;
use crate::tls::liveness::Liveness;
use crate::{ClientAddr, Connection, PeerIdentity, Refusal};

/// The service of [`ForwardedLayer`].
pub type Forwarded<S> = Checked<S, ForwardedLayer>;

impl<S> Forwarded<S> {
    /// Puts `inner` behind `layer`.
    pub fn new(inner: S, layer: ForwardedLayer) -> Self {
        Self::with(inner, layer)
    }
}

impl<S> Layer<S> for ForwardedLayer {
    type Service = Forwarded<S>;

    fn layer(&self, inner: S) -> Forwarded<S> {
        Forwarded::new(inner, self.clone())
    }
}

impl ForwardedLayer {
    /// Puts the client whose certificate a listed proxy forwards in the proxy's place.
    fn decide(&self, request: &mut Head) -> Result<(), Refused> {
        // Of the connection itself: of a proxy's before its headers are believed.
        if let Some(refusal) = liveness(request.extensions()) {
            return Err(Refused::over(refusal));
        }
        if self.strict_host && !host::agrees(request) {
            return Err(Refused {
                refusal: Refusal::HostMismatch,
                detail: "the request's host is not the name that the handshake was for".into(),
            });
        }
        let peer = SocketPeer::of(request.extensions());
        let proxies = self.proxies.load();
        let is_proxy = |peer: ClientAddr| within(&proxies, peer.ip());
        let trusted = self.trusted.as_ref();
        let Some((form, material)) = trusted.filter(|_| peer.is_some_and(is_proxy)) else {
            self.remove(request, peer);
            return Ok(());
        };
        self.remove_other_forms(form, request);
        let material = material.load();
        unrevoked(request.extensions())?;
        let claim = decide::claim(form, request.headers());
        let claim = claim.map_err(|error| Refused::invalid(error.to_string()))?;
        let client = decide::client(claim, self.fields, &material)?;
        let connection = on_behalf(request, client);
        let extensions = request.extensions_mut();
        // What a server that ends TLS itself put there is of the proxy.
        extensions.remove::<PeerIdentity>();
        extensions.insert(connection);
        Ok(())
    }
}

impl<B> Wraps<B> for ForwardedLayer {
    type Body = B;
}

impl<B> Check<B> for ForwardedLayer {
    fn check(&self, head: &mut Head, _: &B, _: &mut Kept) -> Outcome {
        let decided = self.decide(head).map_err(|Refused { refusal, detail }| {
            if let Some(record) = Record::of(head.extensions()) {
                record.explained(detail);
            }
            refusal
        });
        Outcome::of(decided, &self.responder, head)
    }

    fn wrap(body: B, _: Parts) -> B {
        body
    }
}

/// Why the certificate of the request's connection holds no more, if it has one.
fn liveness(extensions: &Extensions) -> Option<Refusal> {
    let connection = Connection::of(extensions)?;
    connection.state::<Liveness>()?.refusal()
}

/// A proxy whose certificate is revoked vouches for no client.
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
    fn remove_other_forms(&self, form: &ForwardedForm, request: &mut Head) {
        for name in &*self.names {
            if !form.uses(name) {
                request.headers_mut().remove(name);
            }
        }
    }

    fn remove(&self, request: &mut Head, peer: Option<ClientAddr>) {
        // Requests have few headers: to look at all takes less than to hash names that mostly are not there.
        let mut sent = request.headers().keys();
        if !sent.any(|name| self.names.contains(name)) {
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
fn on_behalf(request: &Head, client: Client) -> Connection {
    let extensions = request.extensions();
    // A peer that is known to be a listed proxy has an address.
    let unknown = ClientAddr::new(SocketAddr::from(([0, 0, 0, 0], 0)));
    let address = ClientAddr::of(extensions).unwrap_or(unknown);
    let mut builder = Connection::builder(SocketAddr::new(address.ip(), address.port()));
    if let Some(proxy) = Connection::of(extensions) {
        builder = builder.within(proxy);
    }
    match client {
        Client::Absent => {}
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
