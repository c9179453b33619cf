use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::events::Events;
use super::progress::Progress;
use super::removed_ca::RemovedCa;
use super::stream::{Ending, Stream};
use super::{HandshakeError, Material, Reason};
use crate::connection::places::{Bounds, Places};
use crate::telemetry::metrics;
use crate::{Connection, Watched};

const HANDSHAKES: usize = 1_024;

/// Makes TLS connections of TCP ones, each with its [`Connection`]. `Clone` costs a few `Arc`s;
/// clones share their limits.
///
/// `serve::Server` (feature `serve`) is the accept loop around it. A loop of a program's own must do the rest
/// itself:
///
/// - **put [`Accepted::connection`] into the extensions of each request**, by
///   [`AddConnection`](crate::connection::AddConnection): without it requests are not checked for revocation, failed logins
///   are not throttled, and the log has no address;
/// - bound the number of connections whose handshake is over: in all, and by source
///   ([`with_max_connections_per_source`](Self::with_max_connections_per_source), per /64 alone), so that
///   connections that say nothing leave places to those that do. Handshakes in flight are bounded and shared out by
///   source here;
/// - wait for [`descriptors_to_spare`](crate::connection::descriptors_to_spare) before each accept, call
///   [`raise_descriptor_limit`](crate::connection::raise_descriptor_limit) at the start, and go on after a pause
///   when accepting fails;
/// - end connections on which no first byte, no whole head or no next request comes: hyper's
///   `header_read_timeout` does that for HTTP/1.1 where a timer is set, `keep_alive_interval` finds dead
///   connections of HTTP/2, and neither ends one that is idle and answers pings;
/// - end request bodies that do not come, and clients that take nothing of an answer:
///   [`with_stall_timeout`](Self::with_stall_timeout), and [`rate::AbortSlow`](crate::rate::AbortSlow) around the
///   streams of HTTP/2;
/// - bound the size of heads and the number of streams of HTTP/2;
/// - close in stages after an answer that ends the connection, as [`Stream`]'s shutdown does, and keep reading the body
///   of a stream of HTTP/2 for a moment behind an early answer: the guard reads only a small rest before its own
///   answers;
/// - answer for a service that panics;
/// - set `TCP_NODELAY`;
/// - end gracefully, and after a deadline.
#[derive(Clone, Debug)]
pub struct Acceptor {
    pub(super) material: Watched<Material>,
    /// Of handshakes and connections that no `serve::Server` bounds.
    places: Arc<Places>,
    events: Arc<Events>,
    pub(super) options: Options,
}

/// What [`Acceptor::accept`] gives.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted<IO = TcpStream> {
    /// The encrypted stream.
    pub stream: Stream<IO>,
    /// What is known of the connection; [`AddConnection`](crate::connection::AddConnection) gives it to each
    /// request.
    pub connection: Connection,
}

#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) handshake_timeout: Duration,
    pub(super) handshakes: usize,
    pub(super) connections_per_source: Option<usize>,
    pub(super) proxies: Arc<[IpNet]>,
    pub(super) removed_ca: RemovedCa,
    pub(super) ending: Ending,
    pub(super) stall_timeout: Option<Duration>,
}

/// The longest time that anything waits: a point of time after it is there on every clock.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Acceptor {
    /// Accepts under this material: 10 s and 1,024 at once for handshakes.
    pub fn new(material: Watched<Material>) -> Self {
        Self {
            material,
            places: places(HANDSHAKES, None),
            events: Arc::default(),
            options: Options {
                handshake_timeout: Duration::from_secs(10),
                handshakes: HANDSHAKES,
                connections_per_source: None,
                proxies: Arc::default(),
                removed_ca: RemovedCa::default(),
                ending: Ending::default(),
                stall_timeout: None,
            },
        }
    }

    /// Ends handshakes that take longer. Default: 10 s.
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.options.handshake_timeout = timeout.clamp(Duration::from_millis(1), LONGEST);
        self
    }

    /// Lets this many handshakes be in flight. For a further one the oldest is ended of the IPv4 address or IPv6 /48
    /// that has most, so that no source takes the handshakes of the others. Default: 1,024.
    pub fn with_max_handshakes(mut self, handshakes: usize) -> Self {
        self.options.handshakes = handshakes.max(1);
        self.places = self.new_places();
        self
    }

    /// Lets each source have this many connections, handshakes included. A source is an IPv4 address or an IPv6 /64.
    /// A further connection takes the place of a handshake of the source's own, or is refused. Default: no bound.
    pub fn with_max_connections_per_source(mut self, connections: usize) -> Self {
        self.options.connections_per_source = Some(connections);
        self.places = self.new_places();
        self
    }

    fn new_places(&self) -> Arc<Places> {
        places(self.options.handshakes, self.options.connections_per_source)
    }

    /// Expects a PROXY protocol header, version 1 or 2, from peers in these networks, and takes the
    /// client's address from it. From other peers such a header is not TLS. Default: none.
    pub fn with_proxy_protocol(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.options.proxies = proxies.into_iter().collect();
        self
    }

    /// Sets whether connections stay, until the client ends them, when a reload removes their client CA. Default:
    /// no, they are verified again, and end as those of a revoked certificate do if no path is left.
    pub fn with_removed_ca_kept(mut self, kept: bool) -> Self {
        self.options.removed_ca = if kept {
            RemovedCa::Keep
        } else {
            RemovedCa::Recheck
        };
        self
    }

    /// Sets when a connection whose certificate is no longer good is closed: at once if it is idle, that is if
    /// it was never used or the revocation layer knows of no request in flight on it; else once nothing was
    /// written for `idle`, so that a request in flight is answered, and after `drain` in any case. Default: 1 s
    /// and 30 s. The revocation layer ends transfers.
    pub fn with_ending(mut self, idle: Duration, drain: Duration) -> Self {
        self.options.ending = Ending {
            idle: idle.min(LONGEST),
            drain: drain.min(LONGEST),
        };
        self
    }

    pub(crate) fn connections_per_source(&self) -> Option<usize> {
        self.options.connections_per_source
    }

    pub(crate) fn proxies(&self) -> &[IpNet] {
        &self.options.proxies
    }

    pub(crate) fn keeps_connections_of_removed_cas(&self) -> bool {
        self.options.removed_ca == RemovedCa::Keep
    }

    /// Ends connections whose client takes nothing for this long while there is something to send.
    /// An idle connection, or one whose bodies a limit holds back, is not ended. Default: none.
    pub fn with_stall_timeout(mut self, longest: Duration) -> Self {
        self.options.stall_timeout = Some(longest.clamp(Duration::from_millis(1), LONGEST));
        self
    }

    /// How many handshakes may be in flight.
    #[cfg(feature = "serve")]
    pub(crate) fn max_handshakes(&self) -> usize {
        self.options.handshakes
    }

    #[cfg(feature = "serve")]
    pub(crate) fn stall_timeout(&self) -> Option<Duration> {
        self.options.stall_timeout
    }

    /// Returns the material in use.
    pub fn material(&self) -> &Watched<Material> {
        &self.material
    }

    /// Does the handshake on a TCP connection.
    ///
    /// # Errors
    /// Why there is no connection. It is logged and counted already.
    pub async fn accept(&self, tcp: TcpStream) -> Result<Accepted, HandshakeError> {
        let peer = tcp.peer_addr().map_err(|error| {
            let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
            let error = HandshakeError::io(unknown, error);
            self.events.failed(&error, Duration::ZERO);
            error
        })?;
        self.accept_from(tcp, peer).await
    }

    /// Does the handshake on any stream from this peer.
    ///
    /// # Errors
    /// Why there is no connection. It is logged and counted already.
    pub async fn accept_from<IO>(
        &self,
        io: IO,
        peer: SocketAddr,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = Instant::now();
        let mut progress = Progress {
            client: peer,
            server_name: None,
        };
        let exempt = self.is_proxy(peer);
        let Ok((place, displaced)) = self.places.admit(peer.ip(), exempt, None) else {
            return self.log(Err(HandshakeError::full(peer)), progress, begun);
        };
        self.told_in_flight();
        let deadline = begun + self.options.handshake_timeout;
        let admit = |client: SocketAddr| {
            let exempt = self.is_proxy(client);
            place.speaks_for(client.ip(), exempt).is_ok()
        };
        let handshake = timeout_at(deadline, self.in_place(io, admit, &mut progress));
        let result = tokio::select! {
            biased;
            _ = displaced => Err(self.displaced(&progress)),
            done = handshake => done.unwrap_or_else(|_| Err(self.out_of_time(&progress))),
        };
        let result = result.map(|mut accepted| {
            // It is the program's now, and makes room no more.
            place.heard();
            accepted.stream.hold(place);
            accepted
        });
        self.told_in_flight();
        self.log(result, progress, begun)
    }

    /// The handshake on a connection that has a place in the server's table. `admit` moves the place to the
    /// client that a proxy's header names, or says that this client may have no more.
    #[cfg(feature = "serve")]
    pub(crate) async fn accept_in_place<IO>(
        &self,
        io: IO,
        peer: SocketAddr,
        admit: impl Fn(SocketAddr) -> bool,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = Instant::now();
        let deadline = begun + self.options.handshake_timeout;
        let mut progress = Progress {
            client: peer,
            server_name: None,
        };
        let handshake = timeout_at(deadline, self.in_place(io, admit, &mut progress)).await;
        let result = handshake.unwrap_or_else(|_| Err(self.out_of_time(&progress)));
        self.log(result, progress, begun)
    }

    fn log<IO>(
        &self,
        result: Result<Accepted<IO>, HandshakeError>,
        progress: Progress,
        begun: Instant,
    ) -> Result<Accepted<IO>, HandshakeError> {
        match result {
            Ok(accepted) => {
                self.events.accepted(&accepted.connection, begun.elapsed());
                Ok(accepted)
            }
            Err(error) => {
                let error = error.asked_for(progress.server_name);
                self.events.failed(&error, begun.elapsed());
                Err(error)
            }
        }
    }

    fn out_of_time(&self, progress: &Progress) -> HandshakeError {
        let longest = self.options.handshake_timeout.as_secs_f32();
        let words = format!("the handshake was not over after {longest} s");
        HandshakeError::said(progress.client, Reason::TimedOut, words)
    }

    fn displaced(&self, progress: &Progress) -> HandshakeError {
        let most = self.options.handshakes;
        let words = format!(
            "it made room for another: {most} handshakes were in flight, or all connections that its source may have"
        );
        HandshakeError::said(progress.client, Reason::Overloaded, words)
    }

    fn told_in_flight(&self) {
        metrics::handshakes_in_flight(self.places.counts().0);
    }
}

fn places(handshakes: usize, per_source: Option<usize>) -> Arc<Places> {
    Places::new(Bounds {
        all: usize::MAX,
        strangers: handshakes,
        source: per_source.unwrap_or(usize::MAX),
        network: usize::MAX,
    })
}
