use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tower::Service;

use super::activity::Activity;
use super::drive::{self, Accepted, Common};
use super::front::Front;
use super::outcome::Outcome;
use super::trusted::Trusted;
use super::{Incoming, Server, refused};
use crate::Body;
use crate::connection::places::{Bounds, Full, Idle, Places};
use crate::connection::raise_descriptor_limit;
use crate::telemetry::metrics;
use crate::util::counted::counted;
use crate::util::descriptors;

/// When a server is stopped.
type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Descriptors are looked at again after this, once there were none to accept a connection with.
const DESCRIPTORS_PAUSE: Duration = Duration::from_millis(10);

/// So many connections make room then.
const DISPLACED_AT_ONCE: usize = 16;

/// How many connections a source may have, where nothing else is set.
const PER_SOURCE: usize = 1024;

/// How long a client may take nothing of an answer, where nothing else is set.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long accepting waits after an error: the first time, and at most.
const FIRST_BACK_OFF: Duration = Duration::from_millis(10);
const LAST_BACK_OFF: Duration = Duration::from_secs(1);

/// The requests in flight when a server stopped were not all answered within the drain deadline.
#[derive(thiserror::Error)]
#[error(
    "the drain's time is over: after {} s {} with requests in flight had to be cut",
    deadline.as_secs_f32(),
    counted(*connections, "connection")
)]
#[non_exhaustive]
pub struct Unfinished {
    /// How many connections were cut.
    pub connections: usize,
    /// The drain deadline.
    pub deadline: Duration,
}

impl Server {
    /// Accepts what comes to `listener` and answers it by `service`, until the server is stopped. When this
    /// is dropped, all connections end.
    ///
    /// # Errors
    /// Requests were in flight still when the drain deadline was over.
    pub async fn serve<S, R>(self, listener: TcpListener, service: S) -> Result<(), Unfinished>
    where
        S: Service<Request<Body<Incoming>>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        R: http_body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (accepting, stop) = Accepting::begin(self, service);
        accepting.run(listener, stop).await
    }
}

/// A server that accepts connections.
struct Accepting<S> {
    front: Front<S>,
    common: Arc<Common>,
    places: Arc<Places>,
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl<S, R> Accepting<S>
where
    S: Service<Request<Body<Incoming>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn begin(server: Server, service: S) -> (Self, Stop) {
        let Server {
            guard,
            guard_in_service,
            options,
            #[cfg(feature = "tls")]
            acceptor,
            stop,
            raise_descriptor_limit: raise,
            look,
            descriptors_left,
        } = server;
        if raise && let Err(error) = raise_descriptor_limit() {
            tracing::warn!(%error, "the number of open files is limited to what it was at the start");
        }
        let mut bounds = Bounds {
            all: options.max_connections,
            strangers: options.max_strangers.unwrap_or(usize::MAX),
            source: options.max_connections_per_source.unwrap_or(PER_SOURCE),
            network: options.max_connections_per_network,
        };
        let mut has_own_source_bound = options.max_connections_per_source.is_some();
        let mut stall_timeout = options.stall_timeout.unwrap_or(STALL_TIMEOUT);
        let mut with_header = options.proxies.clone();
        #[cfg(feature = "tls")]
        let acceptor = acceptor.map(|mut acceptor| {
            with_header.extend(acceptor.proxies());
            if options.max_strangers.is_none() {
                bounds.strangers = acceptor.max_handshakes();
            }
            if options.max_connections_per_source.is_none() {
                bounds.source = acceptor.connections_per_source().unwrap_or(PER_SOURCE);
                has_own_source_bound = acceptor.connections_per_source().is_some();
            }
            if options.stall_timeout.is_none() {
                stall_timeout = acceptor.stall_timeout().unwrap_or(STALL_TIMEOUT);
            }
            if let Some(timeout) = options.handshake_timeout {
                acceptor = acceptor.with_handshake_timeout(timeout);
            }
            // It reads the headers itself, and its streams end stalled writes.
            acceptor
                .with_proxy_protocol(with_header.iter().copied())
                .with_stall_timeout(stall_timeout)
        });
        let trusted = Trusted {
            with_header: with_header.into(),
            guard: guard.clone(),
        };
        let within_limit = descriptors::connections_within_limit().unwrap_or(usize::MAX);
        let within_limit = within_limit.saturating_sub(descriptors_left);
        if within_limit < bounds.all {
            // The usual parts are those of the usual number: of fewer, one source would have all.
            let half = (within_limit / 2).max(1);
            if !has_own_source_bound {
                bounds.source = bounds.source.min(half);
            }
            bounds.all = within_limit.max(1);
        }
        bounds.strangers = bounds.strangers.min(bounds.all / 2).max(1);
        let (stopping, stopped) = watch::channel(false);
        let accepting = Self {
            places: Places::new(bounds),
            stopping,
            tasks: JoinSet::new(),
            front: Front::new(service, guard.filter(|_| !guard_in_service)),
            common: Arc::new(Common {
                trusted,
                #[cfg(feature = "tls")]
                acceptor,
                builder: drive::builder(&options, stall_timeout),
                stall_timeout,
                stopping: stopped,
                options,
                look,
            }),
        };
        (
            accepting,
            stop.unwrap_or_else(|| Box::pin(std::future::pending())),
        )
    }

    async fn run(mut self, listener: TcpListener, stop: Stop) -> Result<(), Unfinished> {
        let mut stop = stop;
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = self.tasks.join_next() => ended_with(ended),
                (tcp, peer) = next(&listener, &self.places) => self.accepted(tcp, peer),
            }
        }
        drop(listener);
        self.drain().await
    }

    fn accepted(&mut self, tcp: TcpStream, peer: SocketAddr) {
        let activity = Activity::new();
        let exempt = self.common.trusted.is_proxy(peer.ip());
        let idle: Arc<dyn Idle> = activity.clone();
        let (place, displaced) = match self.places.admit(peer.ip(), exempt, Some(idle)) {
            Ok(admitted) => admitted,
            Err(full) => {
                refused::connection(peer, full);
                metrics::connection_ended(Outcome::from(full).label());
                return;
            }
        };
        let accepted = Accepted {
            front: self.front.clone(),
            tcp,
            peer,
            place,
            displaced,
            activity,
        };
        let counted = Counted::new(&self.common, &self.places);
        let common = Arc::clone(&self.common);
        self.tasks.spawn(async move {
            let mut counted = counted;
            counted.outcome = common.serve(accepted).await;
        });
    }

    async fn drain(mut self) -> Result<(), Unfinished> {
        let deadline = self.common.options.drain_deadline;
        let connections = self.tasks.len();
        tracing::info!(connections, "draining");
        // Each connection's task has a receiver.
        let _ = self.stopping.send(true);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended_with(ended);
            }
        };
        if timeout(deadline, all).await.is_ok() {
            return Ok(());
        }
        let connections = self.tasks.len();
        self.tasks.shutdown().await;
        Err(Unfinished {
            connections,
            deadline,
        })
    }
}

/// Counts a connection for as long as it lives, and its end.
struct Counted {
    common: Arc<Common>,
    places: Arc<Places>,
    outcome: Outcome,
}

impl Counted {
    fn new(common: &Arc<Common>, places: &Arc<Places>) -> Self {
        let counted = Self {
            common: Arc::clone(common),
            places: Arc::clone(places),
            // Unless its task comes to its end.
            outcome: Outcome::Cut,
        };
        counted.tell();
        counted
    }

    fn tell(&self) {
        self.common.report(self.places.counts());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.outcome = Outcome::Panicked;
        }
        metrics::connection_ended(self.outcome.label());
        self.tell();
    }
}

impl From<Full> for Outcome {
    fn from(full: Full) -> Self {
        match full {
            Full::Source => Self::SourceFull,
            Full::Network => Self::NetworkFull,
            Full::All => Self::Full,
        }
    }
}

fn ended_with(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "the task of a connection panicked");
    }
}

/// The next connection, once there is room for it and a descriptor to spare. Cancelled, it loses none.
async fn next(listener: &TcpListener, places: &Places) -> (TcpStream, SocketAddr) {
    let mut back_off = FIRST_BACK_OFF;
    loop {
        if places.is_full() {
            refused::all_in_use(places.counts().1);
            metrics::accepting_paused("connections");
            places.room().await;
        }
        if !descriptors::are_to_spare() {
            metrics::accepting_paused("descriptors");
            spare_descriptors(places).await;
        }
        match pin!(listener.accept()).await {
            Ok(accepted) => return accepted,
            Err(error) if descriptors::is_of_one_connection(&error) => {
                metrics::accept_failed("connection");
            }
            Err(error) => {
                metrics::accept_failed("system");
                refused::accept(&error);
                sleep(back_off).await;
                back_off = (back_off * 2).min(LAST_BACK_OFF);
            }
        }
    }
}

/// Waits until there are descriptors to spare. Connections that are not in use make room, so that they do not
/// keep out all others.
async fn spare_descriptors(places: &Places) {
    while !descriptors::are_to_spare() {
        if places.displace(DISPLACED_AT_ONCE) == 0 {
            descriptors::log_exhaustion();
        }
        sleep(DESCRIPTORS_PAUSE).await;
    }
}
