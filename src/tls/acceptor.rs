use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::events::Events;
use super::limits::{Slot, Sources};
use super::stream::{Ending, Stream};
use super::verified::Verified;
use super::verifier::OUTCOME;
use super::watch::Watch;
use super::{HandshakeError, Material, Reason, proxy_protocol};
use crate::audit::metrics;
use crate::connection::{Stall, TlsParameters};
use crate::{Connection, Watched};

const HANDSHAKES: usize = 1_024;

/// Makes TLS connections of TCP ones, each with its [`Connection`]. `Clone` costs a few `Arc`s;
/// clones share their limits.
#[derive(Clone, Debug)]
pub struct Acceptor {
    material: Watched<Material>,
    handshakes: Arc<Semaphore>,
    sources: Arc<Sources>,
    events: Arc<Events>,
    options: Options,
}

/// What [`Acceptor::accept`] gives.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted<IO = TcpStream> {
    /// The encrypted stream.
    pub stream: Stream<IO>,
    /// What is known of the connection; [`AddConnection`](super::AddConnection) gives it to each
    /// request.
    pub connection: Connection,
}

/// What becomes of connections whose client CA is removed by a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemovedCa {
    /// They are verified anew, and end as a revoked one does if no path is left.
    #[default]
    Recheck,
    /// They stay until the client ends them.
    Keep,
}

#[derive(Clone, Debug)]
struct Options {
    handshake_timeout: Duration,
    handshakes: usize,
    connections_per_source: Option<usize>,
    proxies: Arc<[IpNet]>,
    removed_ca: RemovedCa,
    ending: Ending,
    stall_timeout: Option<Duration>,
}

impl Acceptor {
    /// Accepts under this material: 10 s and 1,024 at once for handshakes.
    pub fn new(material: Watched<Material>) -> Self {
        Self {
            material,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            sources: Arc::default(),
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
        self.options.handshake_timeout = timeout;
        self
    }

    /// Lets this many handshakes be under way; others wait in the listener's backlog. Default:
    /// 1,024.
    pub fn with_max_handshakes(mut self, handshakes: usize) -> Self {
        let handshakes = handshakes.clamp(1, Semaphore::MAX_PERMITS);
        self.handshakes = Arc::new(Semaphore::new(handshakes));
        self.options.handshakes = handshakes;
        self
    }

    /// Lets each source have this many connections, handshakes included. A source is an IPv4
    /// address or an IPv6 /64. Default: no bound.
    pub fn with_max_connections_per_source(mut self, connections: usize) -> Self {
        self.options.connections_per_source = Some(connections);
        self
    }

    /// Expects a PROXY protocol header, version 1 or 2, from peers in these networks, and takes the
    /// client's address from it. From other peers such a header is not TLS. Default: none.
    pub fn with_proxy_protocol(mut self, proxies: impl IntoIterator<Item = IpNet>) -> Self {
        self.options.proxies = proxies.into_iter().collect();
        self
    }

    /// What becomes of connections whose client CA is removed. Default: [`RemovedCa::Recheck`].
    pub fn with_removed_ca(mut self, policy: RemovedCa) -> Self {
        self.options.removed_ca = policy;
        self
    }

    /// When a connection whose certificate is no longer good is closed. At once if it is idle: if it
    /// was never used, or if the revocation layer knows of no request under way on it. Else once
    /// nothing was written for `idle`, so that what is under way is answered, and after `drain` in any
    /// case. Default: 1 s and 30 s. Transfers are for the revocation layer to end.
    pub fn with_ending(mut self, idle: Duration, drain: Duration) -> Self {
        self.options.ending = Ending { idle, drain };
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
        self.options.stall_timeout = Some(longest);
        self
    }

    /// The material in use.
    pub fn material(&self) -> &Watched<Material> {
        &self.material
    }

    /// The handshake on a TCP connection.
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

    /// The handshake on any stream from this peer.
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
        let turn = self.turn().await;
        self.accept_in_turn(io, peer, turn).await
    }

    /// Waits until another handshake may begin.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed; if it were, unbounded would be worse than refused by the timeout.
        Arc::clone(&self.handshakes).acquire_owned().await.ok()
    }

    pub(super) async fn accept_in_turn<IO>(
        &self,
        io: IO,
        peer: SocketAddr,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let begun = Instant::now();
        let deadline = begun + self.options.handshake_timeout;
        self.told_in_flight();
        let mut progress = Progress {
            client: peer,
            server_name: None,
        };
        let handshake = timeout_at(deadline, self.handshake(io, &mut progress)).await;
        drop(turn);
        self.told_in_flight();
        let result = handshake.unwrap_or_else(|_| {
            let words = format!(
                "the handshake was not over after {} s",
                self.options.handshake_timeout.as_secs_f32()
            );
            Err(HandshakeError::said(
                progress.client,
                Reason::TimedOut,
                words,
            ))
        });
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

    fn told_in_flight(&self) {
        let free = self.handshakes.available_permits();
        metrics::handshakes_in_flight(self.options.handshakes.saturating_sub(free));
    }

    async fn handshake<IO>(
        &self,
        mut io: IO,
        progress: &mut Progress,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let peer = progress.client;
        let address = peer.ip().to_canonical();
        if self
            .options
            .proxies
            .iter()
            .any(|net| net.contains(&address))
        {
            let client = proxy_protocol::read(&mut io).await.map_err(|error| {
                HandshakeError::said(peer, Reason::ProxyHeader, error.to_string())
            })?;
            progress.client = client.unwrap_or(peer);
        }
        let slot = self.slot(progress.client)?;
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io);
        let hello = hello
            .await
            .map_err(|error| HandshakeError::io(progress.client, error))?;
        progress.server_name = hello.client_hello().server_name().map(Into::into);
        // Taken after the client's hello, so that a connection that waited sees a reload.
        let material = self.material.load().clone();
        let stream = hello.into_stream(Arc::clone(&material.config));
        let (stream, outcome) = OUTCOME
            .scope(RefCell::new(None), async {
                let stream = stream.await;
                (stream, OUTCOME.with(RefCell::take))
            })
            .await;
        let stream = match (stream, outcome) {
            (_, Some(Err(rejection))) => {
                return Err(HandshakeError::rejected(progress.client, rejection, true));
            }
            (Err(error), _) => return Err(HandshakeError::io(progress.client, error)),
            (Ok(stream), Some(Ok(verified))) => {
                return Ok(self.accepted(stream, progress.client, &material, Some(verified), slot));
            }
            (Ok(stream), None) => stream,
        };
        let verified = resumed(&material, stream.get_ref().1, progress.client)?;
        Ok(self.accepted(stream, progress.client, &material, verified, slot))
    }

    fn slot(&self, client: SocketAddr) -> Result<Option<Slot>, HandshakeError> {
        let Some(limit) = self.options.connections_per_source else {
            return Ok(None);
        };
        let slot = self.sources.admit(client.ip(), limit);
        slot.map(Some).ok_or_else(|| {
            let words = format!("the source has {limit} connections already");
            HandshakeError::said(client, Reason::TooManyConnections, words)
        })
    }

    fn accepted<IO>(
        &self,
        stream: TlsStream<IO>,
        client: SocketAddr,
        material: &Material,
        verified: Option<Arc<Verified>>,
        slot: Option<Slot>,
    ) -> Accepted<IO> {
        let mut builder = Connection::builder(client).tls(parameters(stream.get_ref().1));
        #[cfg(feature = "policy")]
        {
            builder = builder.state(crate::policy::Verdicts::default());
        }
        #[cfg(feature = "auth")]
        {
            builder = builder.state(crate::auth::Holder::default());
        }
        let mut gone = None;
        if let Some(verified) = verified {
            builder = builder.identity(verified.identity.clone());
            let mut watch = Watch::new(Arc::clone(&verified));
            #[cfg(feature = "crl")]
            if let Some(tracked) = material.verifier.as_ref().and_then(|v| v.track(&verified)) {
                builder = builder.state(tracked.clone());
                watch = watch.revocation(tracked);
            }
            if self.options.removed_ca == RemovedCa::Recheck {
                watch = watch.anchors(&self.material);
            }
            gone = watch.until_gone();
        }
        let _ = material;
        let connection = builder.build();
        let stall = self.options.stall_timeout.map(Stall::new);
        let ending = self.options.ending;
        let stream = Stream::new(stream, connection.clone(), slot, gone, ending, stall);
        Accepted { stream, connection }
    }
}

struct Progress {
    client: SocketAddr,
    server_name: Option<Box<str>>,
}

/// The client's chain of a handshake in which no verifier ran: kept with the session if it was
/// resumed, none otherwise. Verified as if it had been sent now.
fn resumed(
    material: &Material,
    session: &ServerConnection,
    client: SocketAddr,
) -> Result<Option<Arc<Verified>>, HandshakeError> {
    let Some(verifier) = &material.verifier else {
        return Ok(None);
    };
    match session.peer_certificates() {
        Some([end_entity, intermediates @ ..]) => {
            let now = material.now().ok_or_else(|| {
                HandshakeError::said(client, Reason::Internal, "the clock cannot be read")
            })?;
            verifier
                .verify(end_entity, intermediates, now)
                .map(Some)
                .map_err(|rejection| HandshakeError::rejected(client, rejection, false))
        }
        _ if verifier.is_mandatory() => Err(HandshakeError::said(
            client,
            Reason::CertificateMissing,
            "the resumed session has no client certificate and one is required",
        )),
        _ => Ok(None),
    }
}

fn parameters(session: &ServerConnection) -> TlsParameters {
    let version = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => "unknown",
    };
    let suite = session.negotiated_cipher_suite();
    // rustls spells the names of version 1.3 in its own way.
    let cipher = match suite.and_then(|suite| suite.suite().as_str()) {
        Some("TLS13_AES_128_GCM_SHA256") => "TLS_AES_128_GCM_SHA256",
        Some("TLS13_AES_256_GCM_SHA384") => "TLS_AES_256_GCM_SHA384",
        Some("TLS13_CHACHA20_POLY1305_SHA256") => "TLS_CHACHA20_POLY1305_SHA256",
        Some(name) => name,
        None => "unknown",
    };
    let mut parameters = TlsParameters::new(version, cipher);
    parameters.server_name = session.server_name().map(Into::into);
    parameters.resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    parameters
}
