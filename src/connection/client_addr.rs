use std::fmt;
use std::net::{IpAddr, SocketAddr};

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
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port).fmt(f)
    }
}
