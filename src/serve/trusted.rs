use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::Guard;
use crate::source::within;

/// The proxies in front of a server. Their connections are those of many clients, so no source's bound holds
/// for them.
#[derive(Clone, Debug)]
pub(super) struct Trusted {
    /// Whose connections begin with a header of the PROXY protocol.
    pub(super) with_header: Arc<[IpNet]>,
    /// Whose list of proxies is followed.
    pub(super) guard: Option<Guard>,
}

impl Trusted {
    /// Whether a connection of this peer begins with a header of the PROXY protocol.
    pub(super) fn sends_header(&self, peer: IpAddr) -> bool {
        within(&self.with_header, peer)
    }

    /// Whether this peer speaks for clients of its own.
    pub(super) fn is_proxy(&self, peer: IpAddr) -> bool {
        let guard = self.guard.as_ref();
        self.sends_header(peer) || guard.is_some_and(|guard| guard.lists_proxy(peer))
    }
}
