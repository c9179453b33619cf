use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpStream;

use super::drive::Look;
use crate::Guard;
use crate::connection::ServeOptions;
#[cfg(feature = "tls")]
use crate::tls::Acceptor;

/// The longest time that anything waits: a point of time after it is there on every clock.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest, so that no timer fires without end.
const SHORTEST: Duration = Duration::from_millis(1);

/// Accepts connections and serves the requests on them, behind a [`Guard`]. See the [module](super).
///
/// Of a guard from a configuration file it takes the acceptor and the settings of the section `[serve]`; a
/// `with_*` method changes one of them.
#[must_use = "a server does nothing until `serve`"]
pub struct Server {
    pub(super) guard: Option<Guard>,
    /// Whether the service has the guard in it.
    pub(super) guard_in_service: bool,
    pub(super) options: ServeOptions,
    #[cfg(feature = "tls")]
    pub(super) acceptor: Option<Acceptor>,
    pub(super) stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pub(super) raise_descriptor_limit: bool,
    pub(super) look: Option<Look>,
    pub(super) descriptors_left: usize,
}

impl Server {
    /// Serves behind `guard`, over TLS if it has an acceptor.
    pub fn new(guard: Guard) -> Self {
        Self {
            #[cfg(feature = "tls")]
            acceptor: guard.acceptor().cloned(),
            options: guard.serve_options().clone(),
            guard: Some(guard),
            guard_in_service: false,
            stop: None,
            raise_descriptor_limit: true,
            look: None,
            descriptors_left: 0,
        }
    }

    /// Serves without a guard, in the clear: an operator's port ([`Admin`](crate::admin::Admin)), or a
    /// service with layers of its own.
    pub fn unguarded() -> Self {
        Self {
            guard: None,
            guard_in_service: false,
            options: ServeOptions::default(),
            #[cfg(feature = "tls")]
            acceptor: None,
            stop: None,
            raise_descriptor_limit: true,
            look: None,
            descriptors_left: 0,
        }
    }

    /// Serves over TLS by this acceptor, whatever the guard has. Its bounds on handshakes, on connections of a
    /// source and on stalled readers hold where the server has none of its own.
    #[cfg(feature = "tls")]
    pub fn with_acceptor(mut self, acceptor: Acceptor) -> Self {
        self.acceptor = Some(acceptor);
        self
    }

    /// Takes only the acceptor and the settings of the guard: the service has the guard in it, behind layers of
    /// the program's own that answer some requests before it, as a browser's preflight without credentials.
    pub fn with_guard_in_service(mut self) -> Self {
        self.guard_in_service = true;
        self
    }

    /// Serves in the clear, whatever the guard has.
    pub fn plain(mut self) -> Self {
        #[cfg(feature = "tls")]
        {
            self.acceptor = None;
        }
        self
    }

    /// Looks at the socket of each connection in the clear before its first request, and keeps what `look` returns
    /// as [state](crate::Connection::state) of the connection: where the client was going whose connection the
    /// kernel redirected here (`SO_ORIGINAL_DST`), for example. It is not called for connections over TLS. Default:
    /// looks at none.
    pub fn with_connection_state<T>(
        mut self,
        look: impl Fn(&TcpStream) -> Option<T> + Send + Sync + 'static,
    ) -> Self
    where
        T: Clone + Send + Sync + 'static,
    {
        self.look = Some(Look(Arc::new(move |tcp, connection| match look(tcp) {
            Some(state) => connection.state(state),
            None => connection,
        })));
        self
    }

    /// Ends handshakes, and waits for a PROXY protocol header, that take longer. Default: the acceptor's
    /// own, 10 s.
    pub fn with_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.options.handshake_timeout = Some(bounded(timeout));
        self
    }

    /// Ends connections whose client sends nothing for this long after the handshake. Default: 30 s.
    pub fn with_first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.options.first_byte_timeout = bounded(timeout);
        self
    }

    /// Ends connections on which a head takes longer than this, from its first byte to its last; over HTTP/2
    /// the first head of a connection. It ends without an answer: hyper sends none (408) of its own but for what it
    /// cannot parse, and lets nothing else write while it reads a head. Default: 30 s.
    pub fn with_head_timeout(mut self, timeout: Duration) -> Self {
        self.options.head_timeout = bounded(timeout);
        self
    }

    /// Ends connections that have no request in flight for this long. Over HTTP/2 a GOAWAY is sent
    /// before, and pings do not count. Default: 2 min.
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.idle_timeout = bounded(timeout);
        self
    }

    /// Sends an HTTP/2 ping this often, and ends connections whose client does not answer one within
    /// `timeout`. Default: 30 s and 20 s.
    pub fn with_keep_alive_pings(mut self, interval: Duration, timeout: Duration) -> Self {
        self.options.ping_interval = bounded(interval);
        self.options.ping_timeout = bounded(timeout);
        self
    }

    /// Ends connections, and resets streams of HTTP/2, whose client takes nothing of an answer for this
    /// long. An answer that a limit or the service holds back is not ended. Default: the acceptor's own, else
    /// 60 s.
    pub fn with_stall_timeout(mut self, timeout: Duration) -> Self {
        self.options.stall_timeout = Some(bounded(timeout));
        self
    }

    /// Ends a request's body of which nothing comes for this long while the service asks for it. Default:
    /// 60 s.
    pub fn with_body_silence(mut self, longest: Duration) -> Self {
        self.options.body_silence = bounded(longest);
        self
    }

    /// Ends a request's body of which fewer than `bytes` come in `window`, of which only the time counts in
    /// which the service asks for more. Default: 32 KiB in 2 min.
    pub fn with_body_pace(mut self, bytes: u64, window: Duration) -> Self {
        self.options.body_pace = (bytes, bounded(window));
        self
    }

    /// Refuses requests whose head has more bytes, with status 431. At least 8 KiB. Default: 64 KiB.
    pub fn with_max_head_size(mut self, bytes: usize) -> Self {
        self.options.max_head_size = bytes.clamp(8 * 1024, 16 * 1024 * 1024);
        self
    }

    /// Lets an HTTP/2 connection have this many requests in flight. Default: 128.
    pub fn with_max_streams(mut self, streams: u32) -> Self {
        self.options.max_streams = streams.max(1);
        self
    }

    /// Sets `TCP_NODELAY`, or does not. Default: sets it.
    pub fn with_nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = nodelay;
        self
    }

    /// Has this many connections at most, and as many as leave some file descriptors. When they are all
    /// taken, a connection that has shown nothing makes room, then one without a request, then, where those are more
    /// than a sixteenth of all, one on which every request was refused, then an idle one. Where each has a request in
    /// flight that was let in, the oldest of the network that has most makes room, an IPv4 address or an IPv6 /48, if
    /// that has more than a sixteenth of all and than 128; else further ones wait. Default: 4,096.
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        self.options.max_connections = connections.max(1);
        self
    }

    /// Lets this many of them have shown nothing yet: neither a finished handshake nor, without TLS, a whole
    /// head. Beyond it, the oldest goes of the source that has most. Default: as many as the acceptor lets
    /// handshakes be in flight, and no more than half of all.
    pub fn with_max_new_connections(mut self, connections: usize) -> Self {
        self.options.max_strangers = Some(connections.max(1));
        self
    }

    /// Lets an IPv4 address or an IPv6 /64 have this many connections. A further one takes the place of one
    /// of the source's own that has shown nothing, or is refused. The source may have as many requests in flight,
    /// however many streams each of its connections has; a further one is answered with status 503. Trusted proxies
    /// have no such bound.
    /// Default: what the acceptor is set to, else 1,024, and half of all where the limit of open files allows
    /// fewer in all.
    pub fn with_max_connections_per_source(mut self, connections: usize) -> Self {
        self.options.max_connections_per_source = Some(connections.max(1));
        self
    }

    /// Lets an IPv6 /48 have this many connections, and as many requests in flight. Default: 2,048.
    pub fn with_max_connections_per_network(mut self, connections: usize) -> Self {
        self.options.max_connections_per_network = connections.max(1);
        self
    }

    /// Expects a PROXY protocol header, version 1 or 2, from peers in these networks besides those of the
    /// acceptor, and takes the client's address from it. Default: none.
    pub fn with_proxy_protocol(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.options.proxies = proxies.into_iter().collect();
        self
    }

    /// Raises the number of files that the process may have open when it begins to serve
    /// ([`raise_descriptor_limit`](crate::connection::raise_descriptor_limit)), or does not. Default: raises
    /// it.
    pub fn with_descriptor_limit_raised(mut self, raised: bool) -> Self {
        self.raise_descriptor_limit = raised;
        self
    }

    /// Leaves this many file descriptors to what the service opens for its requests, as connections to another
    /// server, besides the reserve: where the limit of open files bounds the number of connections, there are so many
    /// fewer. Default: 0.
    pub fn with_descriptors_left(mut self, descriptors: usize) -> Self {
        self.descriptors_left = descriptors;
        self
    }

    /// Stops when `stop` is ready: accepts no more, and lets the requests in flight finish.
    pub fn with_graceful_shutdown(
        mut self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.stop = Some(Box::pin(stop));
        self
    }

    /// Cuts what is in flight for this long after the server was stopped. Default: 30 s.
    pub fn with_drain_deadline(mut self, deadline: Duration) -> Self {
        self.options.drain_deadline = deadline.min(LONGEST);
        self
    }
}

fn bounded(time: Duration) -> Duration {
    time.clamp(SHORTEST, LONGEST)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
