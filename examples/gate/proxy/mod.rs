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
mod egress;
mod exchange;
mod framing;
mod headers;
mod in_flight;
mod lanes;
mod late;
mod live;
mod locations;
mod problem;
mod routes;
mod targets;
mod tls;
mod upstream;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, EXPECT, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use portcullis::oci::Route;
use portcullis::{Principal, Watched};

use self::exchange::Exchange;
use self::in_flight::Probes;
use self::locations::Asked;
use self::problem::{Complaints, Problem};

pub(crate) use self::bodies::ProxyBody;
pub(crate) use self::egress::Egress;
pub(crate) use self::headers::is_taken;
pub(crate) use self::in_flight::InFlight;
pub(crate) use self::routes::{Routes, Served};
pub(crate) use self::targets::Targets;
pub(crate) use self::tls::{Tls, TlsFiles, TlsFilesError};
pub(crate) use self::upstream::{Health, Upstream, UpstreamError};

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
    /// How the registry is shown the client's certificate, if it is.
    pub(crate) client_cert: Option<ClientCertForm>,
    /// The group whose members alone may say that a request comes from a Spegel peer.
    pub(crate) peer_group: Option<Box<str>>,
    /// What the registry is shown as `Authorization`; the client's own is taken off in any case.
    pub(crate) authorization: Option<Watched<HeaderValue>>,
    /// The places of requests, which all registries have in common.
    pub(crate) in_flight: InFlight,
}

/// In which headers a client's verified certificate is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ClientCertForm {
    /// `X-Forwarded-Client-Cert`, as Envoy sends it: hash, subject and names.
    Xfcc,
    /// `Client-Cert` and `Client-Cert-Chain` of RFC 9440: the certificates.
    Rfc9440,
}

/// Passes requests on to a registry. `Clone` costs an `Arc`.
#[derive(Debug)]
pub(crate) struct Proxy<B>(Arc<Inner<B>>);

#[derive(Debug)]
struct Inner<B> {
    upstream: Upstream,
    options: Options,
    exchange: Exchange<B>,
    complaints: Complaints,
    probes: Probes,
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
        let deadlines = [
            options.connect_timeout,
            options.head_timeout,
            options.stall_timeout,
        ];
        Self(Arc::new(Inner {
            exchange: Exchange::new(upstream.place(), deadlines, &options.in_flight)
                .with_principal_header(options.principal_header.clone()),
            complaints: Complaints::default(),
            probes: Probes::default(),
            upstream,
            options,
        }))
    }

    /// Passes a request on and returns the registry's answer, or one that says why there is none.
    pub(crate) async fn call(self, request: Request<B>) -> Response<ProxyBody> {
        let method = request.method().clone();
        match self.0.forward(request).await {
            Ok(response) => response,
            Err(problem) => self.0.failed(&problem, &method),
        }
    }

    /// Asks the registry for a path as the gate itself, without credentials, and returns its answer: a probe that
    /// the registry has for callers without credentials.
    pub(crate) async fn ask_openly(&self, method: &Method, path: &str) -> Response<ProxyBody> {
        let answer = async {
            let mut head = Request::new(());
            head.method_mut().clone_from(method);
            *head.uri_mut() = self.0.upstream.target(path)?;
            let place = self.0.probes.take(self.0.options.head_timeout).await?;
            self.0.exchange.send_empty(Some(place), head).await
        };
        answer
            .await
            .unwrap_or_else(|problem| self.0.failed(&problem, method))
    }

    /// Asks `GET /v2/` and returns whether the registry answers, whatever it says.
    pub(crate) async fn probe(&self, timeout: Duration) -> Result<(), String> {
        let answer = async {
            let mut head = Request::new(());
            *head.uri_mut() = self.0.upstream.target("/v2/")?;
            self.0.authorize(head.headers_mut());
            // Never behind callers: it is how the operator learns of them.
            self.0.exchange.send_empty(None, head).await
        };
        match tokio::time::timeout(timeout, answer).await {
            Err(_) => Err(format!("no answer within {timeout:?}")),
            Ok(Err(problem)) => Err(problem.to_string()),
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
        let proto = headers::proto(request.extensions());
        let source = headers::source(request.extensions());
        let patience = self.options.head_timeout;
        let place = self.options.in_flight.take(source, patience).await?;
        let mut answer = self.exchange.send(place, head, body).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            // The caller was let in already: it is the gate that the registry does not know.
            return Err(Problem::Unauthorized);
        }
        Asked::new(&self.upstream, proto, host.as_ref()).relocate(answer.headers_mut())?;
        Ok(answer)
    }

    fn failed(&self, problem: &Problem, method: &Method) -> Response<ProxyBody> {
        self.complaints.note(problem, &self.upstream);
        problem.answer(method)
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
        headers::remove_hop_by_hop(&mut headers).map_err(Problem::Request)?;
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
        match self.options.client_cert {
            Some(ClientCertForm::Xfcc) => headers::client_cert(headers, principal),
            Some(ClientCertForm::Rfc9440) => {
                headers::client_cert_chain(headers, request.extensions());
            }
            None => {}
        }
        let peer = self.options.peer_group.as_deref().is_some_and(|group| {
            principal.is_some_and(|it| it.groups().iter().any(|its| **its == *group))
        });
        if !peer {
            headers::remove_mirrored(headers);
        }
    }
}
