use std::net::SocketAddr;

/// How far a handshake has come.
pub(super) struct Progress {
    pub(super) client: SocketAddr,
    pub(super) server_name: Option<Box<str>>,
}
