use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::bodies::{Progress, ProxyBody, Received, Sent};
use super::connector::Connector;
use super::framing;
use super::headers;
use super::in_flight::Place;
use super::problem::Problem;

/// Sends requests over pooled connections, each within deadlines.
#[derive(Debug)]
pub(super) struct Exchange<B> {
    client: Client<Connector, Sent<B>>,
    head_timeout: Duration,
    stall_timeout: Duration,
}

/// What is read of an answer, or held of a body, that the other side does not take yet.
const READ_AHEAD: usize = 64 * 1024;

/// The same of one stream of HTTP/2: a gigabyte in four seconds, at a millisecond's distance.
const STREAM_WINDOW: u32 = 256 * 1024;

/// As many streams as there are: the clients of a gate share its connection, and one that does not read must not
/// use up what another's answer needs.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

impl<B> Exchange<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Makes no connection yet.
    pub(super) fn new(
        connector: Connector,
        head_timeout: Duration,
        stall_timeout: Duration,
    ) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(256)
            .http1_max_buf_size(READ_AHEAD)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_send_buf_size(READ_AHEAD)
            .build(connector);
        Self {
            client,
            head_timeout,
            stall_timeout,
        }
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
        let place = Some(Arc::new(place));
        let progress = Progress::new();
        let sent = head.map(|()| Sent::new(body, Arc::clone(&progress), place.clone()));
        let mut answered = self.ask(sent, &progress).await;
        if let (Err(Problem::Ended(_)), Some(head)) = (&answered, again) {
            answered = self.ask_without_body(head, place.clone()).await;
        }
        self.passed_on(answered?, is_head, place).await
    }

    /// Sends a request without a body, once.
    pub(super) async fn send_empty(
        &self,
        place: Option<Place>,
        head: Request<()>,
    ) -> Result<Response<ProxyBody>, Problem> {
        let is_head = head.method() == Method::HEAD;
        let place = place.map(Arc::new);
        let answer = self.ask_without_body(head, place.clone()).await?;
        self.passed_on(answer, is_head, place).await
    }

    async fn ask_without_body(
        &self,
        head: Request<()>,
        place: Option<Arc<Place>>,
    ) -> Result<Response<Incoming>, Problem> {
        let progress = Progress::new();
        let sent = head.map(|()| Sent::empty(Arc::clone(&progress), place));
        self.ask(sent, &progress).await
    }

    async fn ask(
        &self,
        request: Request<Sent<B>>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Problem> {
        let answer = self.client.request(request);
        let limit = self.head_timeout;
        match progress.within(limit, answer).await {
            None => Err(Problem::Silent(limit)),
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(Problem::of(&error, progress)),
        }
    }

    async fn passed_on(
        &self,
        answer: Response<Incoming>,
        is_head: bool,
        place: Option<Arc<Place>>,
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
        let mut body = Received::new(body, self.stall_timeout, place);
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
