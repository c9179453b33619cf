use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Accepted, Acceptor, HandshakeError, Stream};
use crate::Connection;
use crate::connection::descriptors_to_spare;
use crate::util::descriptors;

/// The listener of `axum::serve`: handshakes run concurrently, shared out by source
/// ([`Acceptor::with_max_handshakes`]), so that a client whose handshake is slow delays no other client. Accepting stops before the process's last file descriptors ([`descriptors_to_spare`]).
///
/// `axum::serve` has no deadlines and no bounds of its own; `serve::Server` (feature `serve`) serves a router
/// with all of them. With this listener a program must see to these itself:
///
/// - **serve with `into_make_service_with_connect_info::<Connection>()`**, so that each request has its
///   [`Connection`]: without it requests are not checked for revocation, failed logins are not throttled, and
///   the log has no address;
/// - put the guard around the whole router, not inside of `nest`, which takes off a part of the path;
/// - connections that say nothing after their handshake, heads and bodies that do not end, and idle connections
///   are never ended, and nothing can end them but something in front of the server;
/// - nothing bounds the number of connections but the descriptors, and of a source
///   [`Acceptor::with_max_connections_per_source`]; clients that take nothing of an answer are ended by
///   [`Acceptor::with_stall_timeout`];
/// - a service that panics ends its connection without an answer;
/// - `with_graceful_shutdown` has no deadline.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    acceptor: Acceptor,
    handshakes: JoinSet<Result<Accepted, HandshakeError>>,
}

impl Listener {
    /// Accepts by `acceptor` what comes to `tcp`.
    pub fn new(tcp: TcpListener, acceptor: Acceptor) -> Self {
        Self {
            tcp,
            acceptor,
            handshakes: JoinSet::new(),
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Stream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Ok(Accepted { stream, connection, .. })) => {
                        let client = connection.client_addr();
                        return (stream, SocketAddr::new(client.ip(), client.port()));
                    }
                    Ok(Err(_told_already)) => {}
                    Err(error) => tracing::error!(%error, "a handshake's task failed"),
                },
                (tcp, peer) = next(&self.tcp) => {
                    let acceptor = self.acceptor.clone();
                    self.handshakes
                        .spawn(async move { acceptor.accept_from(tcp, peer).await });
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

impl Connected<IncomingStream<'_, Listener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.io().connection().clone()
    }
}

/// The next TCP connection. Cancelled, it loses none.
async fn next(tcp: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        descriptors_to_spare().await;
        match tcp.accept().await {
            Ok((stream, peer)) => {
                // A response's head must not wait for an acknowledgement of what went before.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) if descriptors::is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors of the whole system, most likely: connections that end give some back.
                tracing::error!(%error, "accepting connections fails");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
