use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::Extensions;

use super::ClientAddr;
#[cfg(any(feature = "auth", feature = "policy"))]
use super::kept::Kept;
#[cfg(feature = "crl")]
use super::requests::Requests;
use crate::PeerIdentity;

/// One accepted connection. `Clone` costs an `Arc`.
///
/// An acceptor of this crate makes it. A program with an acceptor of its own does this for each connection:
///
/// ```
/// use http::Request;
/// use portcullis::connection::TlsParameters;
/// use portcullis::{ClientAddr, Connection};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let connection = Connection::builder("192.0.2.1:4711".parse()?)
///     .tls(TlsParameters::new("1.3", "TLS_AES_256_GCM_SHA384"))
///     .build();
///
/// // And this for each of its requests.
/// let mut request = Request::new(());
/// request.extensions_mut().insert(connection.clone());
/// let client = ClientAddr::of(request.extensions()).ok_or("no client")?;
/// assert_eq!(client.ip().to_string(), "192.0.2.1");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

/// Makes a [`Connection`].
#[derive(Debug)]
pub struct Builder(Inner);

/// The parameters that the TLS handshake settled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsParameters {
    /// The protocol's version without its name, as OpenTelemetry has it: `1.3`.
    pub version: &'static str,
    /// The cipher suite's IANA name.
    pub cipher: &'static str,
    /// The server name that the client asked for; `None` if it named none.
    pub server_name: Option<Box<str>>,
    /// Whether the session was resumed, so that no verifier ran at the handshake.
    pub resumed: bool,
}

/// A request in flight on a connection, until it is dropped.
#[cfg(feature = "crl")]
#[derive(Debug)]
pub(crate) struct RequestInFlight(Connection);

struct Inner {
    id: u64,
    client: ClientAddr,
    tls: Option<TlsParameters>,
    identity: Option<PeerIdentity>,
    state: Extensions,
    #[cfg(any(feature = "auth", feature = "policy"))]
    kept: Kept,
    /// Whether it stands for one request only.
    #[cfg(any(feature = "auth", feature = "policy"))]
    is_brief: bool,
    timed_out: AtomicBool,
    #[cfg(feature = "crl")]
    requests: Requests,
}

impl Connection {
    /// Begins a connection from this peer.
    pub fn builder(peer: SocketAddr) -> Builder {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Builder(Inner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            client: ClientAddr::new(peer),
            tls: None,
            identity: None,
            state: Extensions::new(),
            #[cfg(any(feature = "auth", feature = "policy"))]
            kept: Kept::default(),
            #[cfg(any(feature = "auth", feature = "policy"))]
            is_brief: false,
            timed_out: AtomicBool::new(false),
            #[cfg(feature = "crl")]
            requests: Requests::default(),
        })
    }

    /// Returns the connection of the request with these extensions, put there as it is or, with the feature
    /// `axum`, as `ConnectInfo<Connection>`.
    #[inline]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        let found = extensions.get::<Self>();
        #[cfg(feature = "axum")]
        let found = found.or_else(|| {
            let info = extensions.get::<axum::extract::ConnectInfo<Self>>();
            info.map(|axum::extract::ConnectInfo(connection)| connection)
        });
        found
    }

    /// Returns a number that no other connection of this process has.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Returns the socket's peer.
    pub fn client_addr(&self) -> ClientAddr {
        self.0.client
    }

    /// Returns the parameters that the TLS handshake settled; `None` on plain TCP.
    pub fn tls(&self) -> Option<&TlsParameters> {
        self.0.tls.as_ref()
    }

    /// Returns the identity of the client's verified certificate; `None` without one.
    pub fn identity(&self) -> Option<&PeerIdentity> {
        self.0.identity.as_ref()
    }

    /// Notes that it is closed because its peer took nothing for too long.
    #[cfg(any(feature = "serve", feature = "tls"))]
    pub(crate) fn timed_out(&self) {
        self.0.timed_out.store(true, Ordering::Release);
    }

    pub(crate) fn has_timed_out(&self) -> bool {
        self.0.timed_out.load(Ordering::Acquire)
    }

    /// Returns the state of this type that was put into the connection when it was made; `None` if there is
    /// none.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.state.get()
    }

    /// Returns what a capability keeps with the connection from its first use on; `None` for a connection that
    /// stands for one request only.
    #[cfg(any(feature = "auth", feature = "policy"))]
    pub(crate) fn kept<T: Default + Send + Sync + 'static>(&self) -> Option<&T> {
        (!self.0.is_brief).then(|| self.0.kept.get())
    }
}

#[cfg(feature = "crl")]
impl Connection {
    /// Counts a request that begins on this connection.
    pub(crate) fn begin_request(&self) -> RequestInFlight {
        self.0.requests.begin();
        RequestInFlight(self.clone())
    }

    /// Whether all counted requests are over, one at least.
    pub(crate) fn requests_are_over(&self) -> bool {
        self.0.requests.are_over()
    }
}

#[cfg(feature = "crl")]
impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.0.requests.end();
    }
}

impl Builder {
    /// Sets the parameters that the TLS handshake settled. Default: none, plain TCP.
    pub fn tls(mut self, parameters: TlsParameters) -> Self {
        self.0.tls = Some(parameters);
        self
    }

    /// Makes it stand for one of the clients that `outer` speaks for: it is the same connection on the
    /// wire.
    #[cfg(feature = "tls")]
    pub(crate) fn within(mut self, outer: &Connection) -> Self {
        self.0.id = outer.0.id;
        self.0.tls.clone_from(&outer.0.tls);
        #[cfg(any(feature = "auth", feature = "policy"))]
        {
            self.0.is_brief = true;
        }
        self
    }

    /// Sets the identity of the client's verified certificate. Default: none.
    pub fn identity(mut self, identity: PeerIdentity) -> Self {
        self.0.identity = Some(identity);
        self
    }

    /// Keeps `state` with the connection, in place of one of the same type.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.0.state.insert(state);
        self
    }

    /// Returns the finished connection.
    pub fn build(self) -> Connection {
        Connection(Arc::new(self.0))
    }
}

impl TlsParameters {
    /// Makes the parameters of a full handshake of this version and cipher suite.
    pub fn new(version: &'static str, cipher: &'static str) -> Self {
        Self {
            version,
            cipher,
            server_name: None,
            resumed: false,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("client", &self.client)
            .field("tls", &self.tls)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
