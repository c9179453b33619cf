//! The facts of a connection, collected once when it is accepted and shared by every request on it.
//!
//! An acceptor puts a [`Connection`] into the extensions of each request. The layers read from it the caller's
//! address and verified certificate, and keep their verdicts in it: it carries a typed map, filled before the
//! first request, in which a capability finds what it needs later (the verified certificate path and the last
//! revocation verdict, for example).
//!
//! `serve::Server`, `tls::Listener` and `tls::Acceptor` make it. With the feature `axum` it is also the connect info
//! of a plain `TcpListener`, and any other server gives it to its requests by [`AddConnection`].

mod add;
mod client_addr;
#[allow(clippy::module_inception, reason = "the one noun of this folder")]
mod connection;
#[cfg(any(feature = "auth", feature = "policy"))]
mod kept;
#[cfg(any(feature = "serve", feature = "tls"))]
pub(crate) mod places;
#[cfg(feature = "axum")]
mod plain;
#[cfg(any(feature = "serve", feature = "tls"))]
pub(crate) mod proxy_protocol;
#[cfg(feature = "crl")]
mod requests;
#[cfg(feature = "serve")]
mod serve_options;
mod socket_peer;
#[cfg(any(feature = "serve", feature = "tls"))]
mod staged_close;
#[cfg(any(feature = "rate", feature = "serve", feature = "tls"))]
mod stall;
mod unread;

pub use add::AddConnection;
pub use client_addr::ClientAddr;
#[cfg(feature = "crl")]
pub(crate) use connection::RequestInFlight;
pub use connection::{Builder, Connection, TlsParameters};
#[cfg(feature = "serve")]
pub(crate) use serve_options::ServeOptions;
pub(crate) use socket_peer::SocketPeer;
#[cfg(any(feature = "serve", feature = "tls"))]
pub(crate) use staged_close::StagedClose;
#[cfg(any(feature = "rate", feature = "serve", feature = "tls"))]
pub(crate) use stall::Stall;
pub(crate) use unread::{LONGEST_UNREAD, MOST_UNREAD};

pub use crate::util::descriptors::{descriptors_to_spare, raise_descriptor_limit};
