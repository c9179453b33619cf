use std::net::SocketAddr;

use tokio::net::TcpStream;

/// Where a client was going whose connection the kernel redirected to this port (`iptables … -j REDIRECT`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialled(pub(crate) SocketAddr);

impl Dialled {
    /// `None` for a connection that was to come here.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(tcp: &TcpStream) -> Option<Self> {
        let own = tcp.local_addr().ok()?;
        let socket = socket2::SockRef::from(tcp);
        let found = match own {
            SocketAddr::V4(_) => socket.original_dst_v4(),
            SocketAddr::V6(_) => socket.original_dst_v6(),
        };
        let found = found.ok()?.as_socket()?;
        (found != own).then_some(Self(found))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of(_: &TcpStream) -> Option<Self> {
        None
    }
}
