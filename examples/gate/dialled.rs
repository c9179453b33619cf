#[cfg(target_os = "linux")]
use std::net::IpAddr;
use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Where a client was going whose connection the kernel redirected to this port (`iptables … -j REDIRECT`, or
/// `ip6tables`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialled(pub(crate) SocketAddr);

impl Dialled {
    /// `None` for a connection that was to come here.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(tcp: &TcpStream) -> Option<Self> {
        let own = tcp.local_addr().ok()?;
        let socket = socket2::SockRef::from(tcp);
        // To a socket of IPv6 a connection by IPv4 comes too, as `::ffff:127.0.0.1`.
        let own_ip = own.ip().to_canonical();
        let found = match own_ip {
            IpAddr::V4(_) => socket.original_dst_v4(),
            IpAddr::V6(_) => socket.original_dst_v6(),
        };
        let found = found.ok()?.as_socket()?;
        let is_own = (found.ip(), found.port()) == (own_ip, own.port());
        (!is_own).then_some(Self(found))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of(_: &TcpStream) -> Option<Self> {
        None
    }
}
