//! The server: connections accepted, bounded, and served behind a [`Guard`](crate::Guard).
//!
//! A loop that accepts connections and hands them to an HTTP library is twenty lines, and wrong in a way that
//! shows only under attack: a client that says nothing keeps its connection for ever, one source takes all of
//! them, an answer is lost because the socket was closed while the client was sending, and a guard whose
//! requests lack their [`Connection`](crate::Connection) cannot tell one client from another. [`Server`] is
//! that loop, made once:
//!
//! ```no_run
//! use portcullis::config::Config;
//! use portcullis::serve::{Server, bind};
//! use portcullis::Guard;
//!
//! # async fn run<S, R>(service: S) -> Result<(), Box<dyn std::error::Error>>
//! # where
//! #     S: tower::Service<
//! #         http::Request<portcullis::Body<portcullis::serve::Incoming>>,
//! #         Response = http::Response<R>,
//! #         Future: Send,
//! #         Error: Into<Box<dyn std::error::Error + Send + Sync>>,
//! #     > + Clone + Send + 'static,
//! #     R: http_body::Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
//! #         + Send + 'static,
//! # {
//! let guard = Guard::from_config(&Config::load("gate.toml")?)?;
//! let listener = bind("127.0.0.1:5000").await?;
//! Server::new(guard).serve(listener, service).await?;
//! # Ok(()) }
//! ```
//!
//! The service is any [`tower::Service`] of requests with a [`Body`](crate::Body) of [`Incoming`], such as an
//! `axum::Router`; the server puts it behind the guard. Both HTTP/1.1 and HTTP/2 are spoken, over TLS if the
//! guard has an acceptor, else in the clear.
//!
//! What it sees to:
//!
//! - **Deadlines.** A handshake, the first byte, a head, the next request, a client that takes nothing of an
//!   answer and one that sends nothing of a request's body each have one.
//! - **Bounds.** Connections are bounded in all and by source: an IPv4 address, an IPv6 /64, an IPv6 /48.
//!   When a bound is reached, a connection that has shown nothing makes room, the oldest of the source that
//!   has most. Heads have a largest size, HTTP/2 connections a largest number of requests in flight, and a source
//!   has no more of these than it may have connections.
//! - **Descriptors.** The process's limit is raised where it may be, and accepting pauses before the last ones,
//!   which reloads and the operator's port need.
//! - **The connection.** Each request has its [`Connection`](crate::Connection), for axum also as
//!   `ConnectInfo<Connection>` (feature `axum`), also behind a proxy that sends a PROXY protocol header.
//! - **Answers that arrive.** Of a body that the service leaves unread a small rest is read before the answer;
//!   of a larger one the answer says `Connection: close` (HTTP/1.1), and the connection is closed in stages
//!   (RFC 9112 §9.6), or the stream is reset only after a while (HTTP/2), so that no reset overtakes the answer.
//! - **Failures of the service.** A panic or an error is logged, and answered with status 500 and the body of
//!   the OCI distribution-spec.
//! - **The end.** [`Server::with_graceful_shutdown`] stops accepting, lets requests in flight finish, and cuts
//!   what is left after a deadline.
//!
//! All of it is counted (`portcullis_connections_total` by what ended them, and its neighbours), and set in
//! the configuration file's section `[serve]`. Where a program must have a loop of its own, `tls::Acceptor`
//! and `tls::Listener` make the connections, and their documentation lists what is then left to do.

mod accept;
mod activity;
mod bind;
mod drive;
mod failure;
mod front;
mod incoming;
mod outcome;
mod outgoing;
mod panics;
mod refused;
mod respond;
mod server;
mod streams;
mod transport;
mod trusted;

pub use accept::Unfinished;
pub use bind::{BindError, bind};
pub use incoming::{Incoming, IncomingError};
pub use server::Server;
