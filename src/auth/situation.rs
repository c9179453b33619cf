use std::net::IpAddr;

use http::Extensions;

use crate::{ClientAddr, Connection, PeerIdentity};

/// What of a request a decision needs besides the credential.
pub(super) struct Situation<'a> {
    pub(super) client: Client<'a>,
    pub(super) peer: Option<&'a PeerIdentity>,
    pub(super) write: bool,
}

/// Where a request comes from, looked up only when it is asked for.
pub(super) enum Client<'a> {
    Of(&'a Extensions),
    At(Option<IpAddr>),
}

impl Client<'_> {
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Of(extensions) => ClientAddr::of(extensions).map(|client| client.ip()),
            Self::At(address) => *address,
        }
    }
}

/// The certificate of the request with these extensions.
#[inline]
pub(super) fn peer(extensions: &Extensions) -> Option<&PeerIdentity> {
    let own = extensions.get();
    own.or_else(|| Connection::of(extensions).and_then(Connection::identity))
}
