use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming as HyperBody;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tower::Service;

use super::activity::{Activity, Awaited, Deadlines};
use super::front::Front;
use super::incoming::BodyDeadlines;
use super::outcome::Outcome;
use super::respond::Responding;
use super::streams::Streams;
use super::transport::{Stream, Transport};
use super::{Incoming, refused, trusted::Trusted};
use crate::connection::places::Place;
use crate::connection::{Builder, ServeOptions, proxy_protocol};
use crate::telemetry::metrics;
use crate::util::on_wake::OnWake;
use crate::{Body, Connection};

/// How long a connection without a request has for its end, once the client has been sent a GOAWAY.
const FAREWELL: Duration = Duration::from_secs(5);

/// What all connections of a server have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) options: ServeOptions,
    pub(super) stall_timeout: Duration,
    pub(super) trusted: Trusted,
    #[cfg(feature = "tls")]
    pub(super) acceptor: Option<crate::tls::Acceptor>,
    pub(super) builder: auto::Builder<Streams>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) look: Option<Look>,
}

/// What looks at a connection in the clear before its first request.
#[derive(Clone)]
pub(super) struct Look(pub(super) Arc<Looking>);

type Looking = dyn Fn(&TcpStream, Builder) -> Builder + Send + Sync;

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Accepted<S> {
    pub(super) front: Front<S>,
    pub(super) tcp: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
    pub(super) displaced: oneshot::Receiver<()>,
    pub(super) activity: Arc<Activity>,
}

/// The connection builder of a server with these options.
pub(super) fn builder(options: &ServeOptions, stall_timeout: Duration) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams { stall_timeout });
    builder
        .http1()
        .timer(TokioTimer::new())
        // The time of a head is bounded together with that of all else that is waited for.
        .header_read_timeout(None)
        .max_buf_size(options.max_head_size);
    let head_size = u32::try_from(options.max_head_size).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_streams)
        .max_header_list_size(head_size)
        .max_send_buf_size(STREAM_BUFFER)
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(options.ping_timeout);
    builder
}

/// What a stream of HTTP/2 holds of an answer that its client does not take yet.
const STREAM_BUFFER: usize = 32 * 1024;

impl Common {
    /// Reports how many connections have shown nothing yet, and how many there are.
    pub(super) fn report(&self, (new, all): (usize, usize)) {
        metrics::connections(new, all);
        #[cfg(feature = "tls")]
        if self.acceptor.is_some() {
            metrics::handshakes_in_flight(new);
        }
    }

    /// Serves a connection until its end, and returns what ended it.
    pub(super) async fn serve<S, R>(&self, accepted: Accepted<S>) -> Outcome
    where
        S: Service<Request<Body<Incoming>>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        R: http_body::Body<Data = Bytes> + Send + 'static,
        R::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Accepted {
            front,
            tcp,
            peer,
            place,
            mut displaced,
            activity,
        } = accepted;
        if self.options.nodelay {
            // The head of an answer must not wait for an acknowledgement of what went before.
            let _ = tcp.set_nodelay(true);
        }
        let mut stopping = self.stopping.clone();
        let established = tokio::select! {
            established = self.establish(tcp, peer, &place) => established,
            _ = &mut displaced => return Outcome::Displaced,
            // No request has been read from it.
            _ = stopping.wait_for(|stopping| *stopping) => return Outcome::Drained,
        };
        let (stream, connection) = match established {
            Ok(established) => established,
            Err(outcome) => return outcome,
        };
        activity.begin();
        let place = Arc::new(place);
        let responding = Responding {
            front,
            connection: connection.clone(),
            activity: Arc::clone(&activity),
            share: place.share(),
            place: Arc::clone(&place),
            deadlines: BodyDeadlines {
                silence: self.options.body_silence,
                bytes: self.options.body_pace.0,
                window: self.options.body_pace.1,
            },
        };
        let transport = Transport::new(
            stream,
            connection.clone(),
            Arc::clone(&activity),
            self.stall_timeout,
            place,
        );
        let deadlines = Deadlines {
            first_byte: self.options.first_byte_timeout,
            head: self.options.head_timeout,
            idle: self.options.idle_timeout,
        };
        let drive = Drive {
            alarm: Box::pin(sleep_until(Instant::now() + deadlines.shortest())),
            deadlines,
            activity: Arc::clone(&activity),
            displaced,
            stopping,
            draining: false,
        };
        let outcome = drive.run(&self.builder, transport, responding).await;
        if let Some(upgrade) = activity.declined() {
            close_declined(upgrade).await;
        }
        match outcome {
            Outcome::Failed if connection.has_timed_out() => Outcome::Stalled,
            other => other,
        }
    }

    /// The handshake, or what stands before the first request without one.
    async fn establish(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        place: &Place,
    ) -> Result<(Stream, Connection), Outcome> {
        let admit = |client: SocketAddr| {
            let exempt = self.trusted.is_proxy(client.ip());
            place.speaks_for(client.ip(), exempt)
        };
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &self.acceptor {
            // Why there is none has been logged.
            let admit = |client| admit(client).is_ok();
            let accepted = acceptor.accept_in_place(tcp, peer, admit).await;
            let accepted = accepted.map_err(|_| Outcome::Handshake)?;
            place.shaken();
            self.report(place.counts());
            let stream = Stream::Tls(Box::new(accepted.stream));
            return Ok((stream, accepted.connection));
        }
        let (tcp, client) = self.plain(tcp, peer).await?;
        if client != peer
            && let Err(full) = admit(client)
        {
            refused::connection(client, full);
            return Err(full.into());
        }
        let mut connection = Connection::builder(client);
        if let Some(Look(look)) = &self.look {
            connection = look(&tcp, connection);
        }
        Ok((Stream::plain(tcp), connection.build()))
    }

    /// The client of a connection without TLS, which a proxy may name before the first request.
    async fn plain(
        &self,
        mut tcp: TcpStream,
        peer: SocketAddr,
    ) -> Result<(TcpStream, SocketAddr), Outcome> {
        if !self.trusted.sends_header(peer.ip()) {
            return Ok((tcp, peer));
        }
        let longest = self.options.handshake_timeout;
        let longest = longest.unwrap_or(Duration::from_secs(10));
        let error = match timeout(longest, proxy_protocol::read(&mut tcp)).await {
            Ok(Ok(client)) => return Ok((tcp, client.unwrap_or(peer))),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no PROXY protocol header came within {longest:?}"),
        };
        refused::proxy_header(peer, &error);
        Err(Outcome::ProxyHeader)
    }
}

/// What a connection's task waits for besides its requests.
#[derive(Debug)]
struct Drive {
    deadlines: Deadlines,
    activity: Arc<Activity>,
    alarm: Pin<Box<Sleep>>,
    displaced: oneshot::Receiver<()>,
    stopping: watch::Receiver<bool>,
    draining: bool,
}

/// Why a connection is to end, that does not end by itself.
#[derive(Debug)]
enum Interruption {
    Displaced,
    Stopping,
    Waited(Awaited),
}

impl Drive {
    async fn run<S, B>(
        mut self,
        builder: &auto::Builder<Streams>,
        transport: Transport,
        service: S,
    ) -> Outcome
    where
        S: hyper::service::Service<Request<HyperBody>, Response = Response<B>, Error = Infallible>,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(transport), service);
        tokio::pin!(connection);
        // What the end will have been, once a GOAWAY has announced it.
        let mut ending = None;
        loop {
            let mut interrupted = OnWake::new(Box::pin(self.interrupted()));
            let next = poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Err(ended)),
                Poll::Pending => interrupted.poll(cx).map(Ok),
            });
            let interruption = match next.await {
                Ok(interruption) => interruption,
                Err(ended) => {
                    drop(interrupted);
                    if let Some(outcome) = ending {
                        return outcome;
                    }
                    return match ended {
                        // That of a connection whose protocol is not known yet ends by an error.
                        _ if self.draining => Outcome::Drained,
                        Ok(()) => Outcome::Closed,
                        Err(error) => {
                            tracing::debug!(error, "a connection ended early");
                            Outcome::Failed
                        }
                    };
                }
            };
            drop(interrupted);
            match (interruption, ending) {
                (Interruption::Displaced, _) => return Outcome::Displaced,
                (Interruption::Stopping, _) => {
                    self.draining = true;
                    ending = Some(Outcome::Drained);
                    connection.as_mut().graceful_shutdown();
                    // Over HTTP/2 the end waits for a PING that a client may leave unanswered.
                    self.deadlines = self.deadlines.no_longer_than(FAREWELL);
                    self.activity.begin();
                    self.alarm.as_mut().reset(Instant::now() + FAREWELL);
                }
                (Interruption::Waited(_), Some(outcome)) => return outcome,
                (Interruption::Waited(Awaited::FirstByte), None) => return Outcome::FirstByte,
                (Interruption::Waited(Awaited::Head), None) => return Outcome::Head,
                (Interruption::Waited(Awaited::NextRequest), None) => {
                    ending = Some(Outcome::Idle);
                    connection.as_mut().graceful_shutdown();
                    self.alarm.as_mut().reset(Instant::now() + FAREWELL);
                }
            }
        }
    }

    /// Resolves once the connection is to end. One alarm serves all its deadlines: what happens on the connection
    /// notes when it did, and the alarm looks at that.
    async fn interrupted(&mut self) -> Interruption {
        let shortest = self.deadlines.shortest();
        loop {
            tokio::select! {
                _ = &mut self.displaced => return Interruption::Displaced,
                _ = self.stopping.wait_for(|stopping| *stopping), if !self.draining => {
                    return Interruption::Stopping;
                }
                () = &mut self.alarm => {}
            }
            let now = Instant::now();
            let next = match self.activity.awaited(&self.deadlines) {
                Some((end, awaited)) if end <= now => {
                    tracing::debug!(
                        ?awaited,
                        ?end,
                        "a connection's client was waited for long enough"
                    );
                    return Interruption::Waited(awaited);
                }
                waits => waits.map(|(end, _)| end),
            };
            // No deadline that begins from now on is nearer than the shortest.
            let latest = now + shortest;
            self.alarm
                .as_mut()
                .reset(next.map_or(latest, |next| next.min(latest)));
        }
    }
}

/// Closes a connection in stages whose client asked for another protocol in vain: hyper hands it over at the end of
/// its requests instead of closing it.
async fn close_declined(upgrade: OnUpgrade) {
    if let Ok(connection) = upgrade.await {
        let _ = TokioIo::new(connection).shutdown().await;
    }
}
