use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::bodies::{Progress, ProxyBody, Received, Sent};
use super::connector::Connector;
use super::headers;
use super::problem::Problem;

/// Sends requests over pooled connections, each within deadlines.
#[derive(Debug)]
pub(super) struct Exchange<B> {
    client: Client<Connector, Sent<B>>,
    head_timeout: Duration,
    stall_timeout: Duration,
}

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
            .build(connector);
        Self {
            client,
            head_timeout,
            stall_timeout,
        }
    }

    /// Sends a request and returns the answer without what concerns its connection only.
    pub(super) async fn send(
        &self,
        head: Request<()>,
        body: B,
    ) -> Result<Response<ProxyBody>, Problem> {
        // What changes nothing and has no body can be sent a second time where the connection ended under the
        // first; a body is never read twice.
        let changes_nothing = [Method::GET, Method::HEAD].contains(head.method());
        let again = (changes_nothing && body.is_end_stream()).then(|| head.clone());
        let progress = Progress::new();
        let sent = head.map(|()| Sent::new(body, Arc::clone(&progress)));
        let mut answered = self.ask(sent, &progress).await;
        if let (Err(Problem::Ended(_)), Some(head)) = (&answered, again) {
            answered = self.ask_without_body(head).await;
        }
        Ok(self.passed_on(answered?))
    }

    /// Sends a request without a body, once.
    pub(super) async fn send_empty(
        &self,
        head: Request<()>,
    ) -> Result<Response<ProxyBody>, Problem> {
        Ok(self.passed_on(self.ask_without_body(head).await?))
    }

    async fn ask_without_body(&self, head: Request<()>) -> Result<Response<Incoming>, Problem> {
        let progress = Progress::new();
        let sent = head.map(|()| Sent::empty(Arc::clone(&progress)));
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

    fn passed_on(&self, mut answer: Response<Incoming>) -> Response<ProxyBody> {
        headers::remove_hop_by_hop(answer.headers_mut());
        // Each side speaks its own.
        *answer.version_mut() = Version::default();
        answer.map(|body| ProxyBody::Upstream {
            body: Received::new(body, self.stall_timeout),
        })
    }
}
