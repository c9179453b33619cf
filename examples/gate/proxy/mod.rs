//! A streaming reverse proxy to one registry.
//!
//! Bodies pass frame by frame in both directions, trailers too; nothing is buffered. The registry gets the
//! canonical target of the route, never the raw one, and headers that say who asked only from here.
//!
//! The pool of connections is `hyper-util`'s. The maintained reverse-proxy crates were weighed and not taken:
//! `axum-reverse-proxy` and `hyper-reverse-proxy` repeat requests or fix the scheme and host by themselves, and
//! `pingora-proxy` brings a server and a configuration of its own.

mod bodies;
mod connector;
mod headers;
mod problem;
mod tls;
mod upstream;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, EXPECT, HOST, LOCATION};
use http::uri::Authority;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use portcullis::oci::Route;
use portcullis::{Principal, Watched};

use crate::log::chain;

use self::bodies::{Progress, Received, Sent};
use self::connector::Connector;
use self::problem::Problem;

pub(crate) use self::bodies::ProxyBody;
pub(crate) use self::tls::{TlsFiles, TlsFilesError};
pub(crate) use self::upstream::{Health, Upstream};

/// How requests are passed on.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// For how long a connection to the registry may take to be made, the TLS handshake included.
    pub(crate) connect_timeout: Duration,
    /// For how long the registry may leave a request without the head of an answer. The time in which the
    /// client's own body is waited for does not count.
    pub(crate) head_timeout: Duration,
    /// For how long nothing may come of an answer's body.
    pub(crate) stall_timeout: Duration,
    /// Whether the registry is shown the `Host` that the client asked for, and not its own.
    pub(crate) keep_host: bool,
    /// The header in which the registry is shown the name of the principal, as `token:ci`.
    pub(crate) principal_header: Option<HeaderName>,
    /// Whether the registry is shown the client's certificate as `X-Forwarded-Client-Cert`.
    pub(crate) client_cert: bool,
    /// The group whose members alone may say that a request comes from a Spegel peer.
    pub(crate) peer_group: Option<Box<str>>,
    /// What the registry is shown as `Authorization`; the client's own is taken off in any case.
    pub(crate) authorization: Option<Watched<HeaderValue>>,
}

/// Passes requests on to a registry. `Clone` costs an `Arc`.
#[derive(Debug)]
pub(crate) struct Proxy<B>(Arc<Inner<B>>);

#[derive(Debug)]
struct Inner<B> {
    upstream: Upstream,
    options: Options,
    client: Client<Connector, Sent<B>>,
}

impl<B> Clone for Proxy<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Proxy<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Makes no connection yet.
    pub(crate) fn new(upstream: Upstream, options: Options) -> Self {
        let connector = Connector::new(&upstream, options.connect_timeout);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(256)
            .build(connector);
        Self(Arc::new(Inner {
            upstream,
            options,
            client,
        }))
    }

    /// Passes a request on and returns the registry's answer, or one that says why there is none.
    pub(crate) async fn call(self, request: Request<B>) -> Response<ProxyBody> {
        let method = request.method().clone();
        match self.0.forward(request).await {
            Ok(response) => response,
            Err(problem) => {
                problem.log(&self.0.upstream);
                problem.answer(&method)
            }
        }
    }

    /// Asks `GET /v2/` and returns whether the registry answers, whatever it says.
    pub(crate) async fn probe(&self, timeout: Duration) -> Result<(), String> {
        let mut request = Request::new(Sent::empty(Progress::new()));
        *request.uri_mut() = self
            .0
            .upstream
            .target("/v2/")
            .map_err(|error| error.to_string())?;
        self.0.authorize(request.headers_mut());
        match tokio::time::timeout(timeout, self.0.client.request(request)).await {
            Err(_) => Err(format!("no answer within {timeout:?}")),
            Ok(Err(error)) => Err(chain(&error)),
            Ok(Ok(answer)) if answer.status().is_server_error() => {
                Err(format!("it answers GET /v2/ with {}", answer.status()))
            }
            Ok(Ok(_)) => Ok(()),
        }
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.0.upstream
    }
}

impl<B> Inner<B>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    async fn forward(&self, request: Request<B>) -> Result<Response<ProxyBody>, Problem> {
        let (parts, body) = request.into_parts();
        let mut request = Request::from_parts(parts, ());
        let host = headers::host(&request);
        let head = self.head(&mut request, host.as_ref())?;
        // What changes nothing and has no body can be sent a second time where the connection ended under the
        // first; a body is never read twice.
        let changes_nothing = [Method::GET, Method::HEAD].contains(request.method());
        let again = (changes_nothing && body.is_end_stream()).then(|| head.clone());
        let progress = Progress::new();
        let sent = head.map(|()| Sent::new(body, Arc::clone(&progress)));
        let mut answered = self.ask(sent, &progress).await;
        if let (Err(Problem::Ended(_)), Some(head)) = (&answered, again) {
            let progress = Progress::new();
            let sent = head.map(|()| Sent::empty(Arc::clone(&progress)));
            answered = self.ask(sent, &progress).await;
        }
        let mut answer = answered?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // The caller was let in already: it is the gate that the registry does not know.
            return Err(Problem::Unauthorized);
        }
        headers::remove_hop_by_hop(answer.headers_mut());
        self.relocate(answer.headers_mut(), host.as_ref());
        // Each side speaks its own.
        *answer.version_mut() = Version::default();
        let stall = self.options.stall_timeout;
        Ok(answer.map(|body| ProxyBody::Upstream {
            body: Received::new(body, stall),
        }))
    }

    async fn ask(
        &self,
        request: Request<Sent<B>>,
        progress: &Progress,
    ) -> Result<Response<hyper::body::Incoming>, Problem> {
        let answer = self.client.request(request);
        let limit = self.options.head_timeout;
        match progress.within(limit, answer).await {
            None => Err(Problem::Silent(limit)),
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(Problem::of(&error, progress)),
        }
    }

    /// The head of the request as the registry is to see it.
    fn head(
        &self,
        request: &mut Request<()>,
        host: Option<&HeaderValue>,
    ) -> Result<Request<()>, Problem> {
        let target = Route::of(request).map_err(Problem::Route)?.to_string();
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = self.upstream.target(&target)?;
        let mut headers = request.headers().clone();
        headers::remove_hop_by_hop(&mut headers);
        headers::remove_claims(&mut headers, self.options.principal_header.as_ref());
        // hyper answers it once the body is asked for, which is when the registry is reached.
        headers.remove(EXPECT);
        headers.remove(HOST);
        if let (true, Some(host)) = (self.options.keep_host, host) {
            headers.insert(HOST, host.clone());
        }
        headers::forwarded(&mut headers, request.extensions(), host);
        self.show_caller(&mut headers, request);
        headers.remove(AUTHORIZATION);
        self.authorize(&mut headers);
        *head.headers_mut() = headers;
        Ok(head)
    }

    fn authorize(&self, headers: &mut HeaderMap) {
        if let Some(authorization) = &self.options.authorization {
            headers.insert(AUTHORIZATION, authorization.load().clone());
        }
    }

    fn show_caller(&self, headers: &mut HeaderMap, request: &Request<()>) {
        let principal = Principal::of(request.extensions());
        if let Some(name) = &self.options.principal_header {
            let shown =
                principal.and_then(|principal| HeaderValue::try_from(principal.to_string()).ok());
            if let Some(shown) = shown {
                headers.insert(name, shown);
            }
        }
        if self.options.client_cert {
            headers::client_cert(headers, principal);
        }
        let peer = self.options.peer_group.as_deref().is_some_and(|group| {
            principal.is_some_and(|it| it.groups().iter().any(|its| **its == *group))
        });
        if !peer {
            headers.remove(headers::MIRRORED);
        }
    }

    /// Makes a location on the registry itself one that the client can reach. One elsewhere, as of a content
    /// delivery network, stays.
    fn relocate(&self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        let Some(location) = headers.get(LOCATION) else {
            return;
        };
        let Ok(uri) = Uri::try_from(location.as_bytes()) else {
            return;
        };
        if uri.authority().is_none() {
            return;
        }
        let asked = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let asked = asked.is_some_and(|asked| upstream::is_at(&uri, &asked));
        if !asked && !self.upstream.is_named_by(&uri) {
            return;
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if let Ok(path) = HeaderValue::from_str(path) {
            headers.insert(LOCATION, path);
        }
    }
}
