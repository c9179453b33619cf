use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::bodies::{Progress, ProxyBody, Received, Sent};
use super::connector::Connector;
use super::framing;
use super::headers;
use super::in_flight::{Held, InFlight, Place};
use super::lanes::Lanes;
use super::problem::Problem;
use super::upstream;

/// Sends requests over pooled connections, each within deadlines.
#[derive(Debug)]
pub(super) struct Exchange<B> {
    lanes: Lanes<Client<Connector, Sent<B>>>,
    connector: Connector,
    idle: usize,
    head_timeout: Duration,
    stall_timeout: Duration,
    principal_header: Option<HeaderName>,
}

/// For how long a connection without a request is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What is read of an answer, or held of a body, that the other side does not take yet.
const READ_AHEAD: usize = 64 * 1024;

/// The same of one stream of HTTP/2: a gigabyte in four seconds, at a millisecond's distance.
const STREAM_WINDOW: u32 = 256 * 1024;

/// As many streams as there are: the clients of a gate share its connection, and one that does not read must not
/// use up what another's answer needs.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

fn client<B>(connector: &Connector, idle: usize) -> Client<Connector, Sent<B>>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(idle)
        .http1_max_buf_size(READ_AHEAD)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_send_buf_size(READ_AHEAD)
        .build(connector.clone())
}

impl<B> Exchange<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Makes no connection yet. To each host it keeps as many idle ones as the places allow.
    pub(super) fn new(
        place: Arc<upstream::Place>,
        [connect_timeout, head_timeout, stall_timeout]: [Duration; 3],
        in_flight: &InFlight,
    ) -> Self {
        let idle = in_flight.idle();
        let is_shared = place.offers_http2();
        let connector = Connector::new(place, connect_timeout, in_flight.connections());
        Self {
            lanes: Lanes::new(is_shared),
            connector,
            idle,
            head_timeout,
            stall_timeout,
            principal_header: None,
        }
    }

    /// Removes this header, by which the registry knows the caller, from the trailers of requests.
    pub(super) fn with_principal_header(mut self, name: Option<HeaderName>) -> Self {
        self.principal_header = name;
        self
    }

    /// Sends a request and returns the answer without what concerns its connection only. The place is free again
    /// once both bodies have ended.
    pub(super) async fn send(
        &self,
        place: Place,
        head: Request<()>,
        body: B,
    ) -> Result<Response<ProxyBody>, Problem> {
        // What changes nothing and has no body can be sent a second time where the connection ended under the
        // first; a body is never read twice.
        let is_head = head.method() == Method::HEAD;
        let changes_nothing = [Method::GET, Method::HEAD].contains(head.method());
        let again = (changes_nothing && body.is_end_stream()).then(|| head.clone());
        let (client, kept) = self.lane(Some(place));
        let progress = Progress::new();
        let principal_header = self.principal_header.clone();
        let (moves, holds) = (Arc::clone(&progress), Arc::clone(&kept));
        let sent = head.map(|()| Sent::new(body, moves, principal_header, holds));
        let mut answered = self.ask(&client, sent, &progress).await;
        if let (Err(Problem::Ended(_)), Some(head)) = (&answered, again) {
            answered = self.ask_without_body(&client, head, &kept).await;
        }
        self.passed_on(answered?, is_head, kept).await
    }

    /// Sends a request without a body, once.
    pub(super) async fn send_empty(
        &self,
        place: Option<Place>,
        head: Request<()>,
    ) -> Result<Response<ProxyBody>, Problem> {
        let is_head = head.method() == Method::HEAD;
        let (client, kept) = self.lane(place);
        let answer = self.ask_without_body(&client, head, &kept).await?;
        self.passed_on(answer, is_head, kept).await
    }

    /// Connections that have room for one more request, which has it with its place.
    fn lane(&self, place: Option<Place>) -> (Client<Connector, Sent<B>>, Arc<Held>) {
        if self.connector.is_exhausted() {
            // Idle connections to other hosts must not be in the way; they end with their pool.
            self.lanes.clear();
        }
        let source = place.as_ref().map_or("", Place::source);
        let make = || client(&self.connector, self.idle);
        let (client, stream) = self.lanes.take(source, make);
        let kept = Held {
            _place: place,
            _stream: stream,
        };
        (client, Arc::new(kept))
    }

    async fn ask_without_body(
        &self,
        client: &Client<Connector, Sent<B>>,
        head: Request<()>,
        kept: &Arc<Held>,
    ) -> Result<Response<Incoming>, Problem> {
        let progress = Progress::new();
        let sent = head.map(|()| Sent::empty(Arc::clone(&progress), Arc::clone(kept)));
        self.ask(client, sent, &progress).await
    }

    async fn ask(
        &self,
        client: &Client<Connector, Sent<B>>,
        request: Request<Sent<B>>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Problem> {
        let limit = self.head_timeout;
        match progress.within(limit, client.request(request)).await {
            None => Err(Problem::Silent(limit)),
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(Problem::of(&error, progress)),
        }
    }

    async fn passed_on(
        &self,
        answer: Response<Incoming>,
        is_head: bool,
        kept: Arc<Held>,
    ) -> Result<Response<ProxyBody>, Problem> {
        let (mut parts, body) = answer.into_parts();
        if parts.status.is_informational() {
            // 101: hyper waits for what follows any other.
            return Err(Problem::NotFinal(parts.status));
        }
        if parts.status.as_u16() > 599 {
            return Err(Problem::Status(parts.status));
        }
        headers::remove_hop_by_hop(&mut parts.headers).map_err(Problem::Answer)?;
        let mut body = Received::new(body, self.stall_timeout, kept);
        body.begin().await;
        // What the registry refuses it has said, whatever became of its words.
        if parts.status.is_success()
            && let Some(cut) = body.take_cut()
        {
            return Err(Problem::Cut(cut));
        }
        // Where there is no body by definition, the length is that of another answer (RFC 9110 §8.6).
        if !is_head && parts.status != StatusCode::NOT_MODIFIED {
            framing::set_length(&mut parts.headers, body.size_hint().exact());
        }
        // Each side speaks its own.
        parts.version = Version::default();
        Ok(Response::from_parts(parts, ProxyBody::Upstream { body }))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn idle_connections_to_other_hosts_make_room_for_one_to_a_further_host() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(tcp.read_u8().await.unwrap());
                    }
                    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
                    tcp.write_all(answer).await.unwrap();
                    // Open until the other side ends it.
                    let _ = tcp.read_u8().await;
                });
            }
        });
        let places = InFlight::new(1);
        let host = "127.0.0.1".into();
        let place = Arc::new(upstream::Place::Http { host, port });
        // Less than the time for which an idle connection is kept.
        let deadlines = [IDLE_TIMEOUT / 2; 3];
        let exchange = Exchange::<Full<Bytes>>::new(place, deadlines, &places);
        for number in 0..places.connections() + 3 {
            let head = Request::get(format!("http://host-{number}/v2/"));
            let head = head.body(()).unwrap();
            let answer = exchange.send_empty(None, head).await.unwrap();
            assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{number}");
        }
    }
}
