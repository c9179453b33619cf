use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::Extensions;

use super::Connection;

/// The caller's network address: the socket's peer or, behind a listed proxy only, the address that the proxy
/// vouches for. An IPv4-mapped IPv6 address is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddr {
    ip: IpAddr,
    port: u16,
}

impl ClientAddr {
    /// Makes the address, with `::ffff:a.b.c.d` made `a.b.c.d`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            ip: address.ip().to_canonical(),
            port: address.port(),
        }
    }

    /// Returns the IP address.
    #[inline]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Returns the port; 0 where a proxy did not report it.
    pub fn port(&self) -> u16 {
        self.port
    }

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

/// The socket's peer of a request whose [`ClientAddr`] is what that peer vouches for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketPeer(pub(crate) ClientAddr);

impl SocketPeer {
    /// Who sent the request with these extensions, whomever they speak for.
    pub(crate) fn of(extensions: &Extensions) -> Option<ClientAddr> {
        match extensions.get::<Self>() {
            Some(Self(peer)) => Some(*peer),
            None => ClientAddr::of(extensions),
        }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port).fmt(f)
    }
}
