#[cfg(feature = "axum")]
use std::net::SocketAddr;

use http::Extensions;

use super::{ClientAddr, Connection};

/// The socket's peer of a request whose [`ClientAddr`] is what that peer vouches for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketPeer(pub(crate) ClientAddr);

impl SocketPeer {
    /// The peer that sent the request with these extensions, also where it speaks for another client.
    pub(crate) fn of(extensions: &Extensions) -> Option<ClientAddr> {
        match extensions.get::<Self>() {
            Some(Self(peer)) => Some(*peer),
            None => ClientAddr::of(extensions),
        }
    }
}

impl ClientAddr {
    /// Returns the caller's address of the request with these extensions: what a layer before put there, else
    /// the peer of the [`Connection`], else axum's `ConnectInfo<SocketAddr>` (feature `axum`).
    #[inline]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        if let Some(address) = extensions.get::<Self>() {
            return Some(*address);
        }
        if let Some(connection) = Connection::of(extensions) {
            return Some(connection.client_addr());
        }
        #[cfg(feature = "axum")]
        if let Some(axum::extract::ConnectInfo(address)) =
            extensions.get::<axum::extract::ConnectInfo<SocketAddr>>()
        {
            return Some(Self::new(*address));
        }
        None
    }
}
