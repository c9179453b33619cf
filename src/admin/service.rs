use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tower::Service;

use super::{Check, Readiness};
use crate::Watched;
use crate::util::printable::printable;

/// The service for an operator's probes and for Prometheus: `/livez`, `/readyz` and `/metrics`, on a listener
/// apart from the data port. It authenticates no caller, so bind it where only the operator's clients reach it.
///
/// - `GET /livez` is 200 as long as the process can answer.
/// - `GET /readyz` is 200 if every check says that requests are served, else 503; its body has a
///   line a check, `[+]`, `[~]` or `[-]`.
/// - `GET /metrics` is what the recorder renders, in Prometheus' text format.
///
/// ```
/// use http::Request;
/// use portcullis::Watched;
/// use portcullis::admin::{Admin, Readiness};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tokens = Watched::fixed(["a token"]);
/// let admin = Admin::new()
///     .watching("tokens", &tokens)
///     .with_check("store", || Readiness::NotReady("the disk is full".into()));
/// let response = admin.oneshot(Request::get("/readyz").body(())?).await?;
/// assert_eq!(response.status(), 503);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Admin {
    checks: Vec<Check>,
    metrics: Option<Render>,
}

type Render = Arc<dyn Fn() -> String + Send + Sync>;

impl Admin {
    /// Makes a service that is always ready, without metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check that calls `check` at each `/readyz`; it must not block.
    pub fn with_check(
        self,
        name: &'static str,
        check: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> Self {
        self.with_checks([Check::new(name, check)])
    }

    /// Adds a check that reports a snapshot whose last reload failed. The last good value stays active, so the
    /// part is degraded, not down.
    pub fn watching<T: Send + Sync + 'static>(
        self,
        name: &'static str,
        watched: &Watched<T>,
    ) -> Self {
        self.with_checks([Check::watching(name, watched)])
    }

    /// Adds these checks, such as [`Guard::checks`](crate::Guard::checks).
    pub fn with_checks(mut self, checks: impl IntoIterator<Item = Check>) -> Self {
        self.checks.extend(checks);
        self
    }

    /// Answers `/metrics` with what `render` returns, such as `PrometheusHandle::render`. Default: 404.
    pub fn with_metrics(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Some(Arc::new(render));
        self
    }

    fn answer(&self, path: &str) -> (StatusCode, &'static str, String) {
        match (path, &self.metrics) {
            ("/livez", _) => (StatusCode::OK, TEXT, "ok\n".into()),
            ("/readyz", _) => {
                let (status, report) = self.readiness();
                (status, TEXT, report)
            }
            ("/metrics", Some(render)) => (StatusCode::OK, PROMETHEUS, render()),
            _ => (StatusCode::NOT_FOUND, TEXT, "not found\n".into()),
        }
    }

    fn readiness(&self) -> (StatusCode, String) {
        let mut status = StatusCode::OK;
        let mut report = String::new();
        for Check { name, ask } in &self.checks {
            let (sign, reason) = match ask() {
                Readiness::Ready => ("[+]", String::from("ok")),
                Readiness::Degraded(reason) => ("[~]", reason),
                Readiness::NotReady(reason) => {
                    status = StatusCode::SERVICE_UNAVAILABLE;
                    ("[-]", reason)
                }
            };
            report.extend([sign, " ", name, ": ", &printable(&reason, 1024), "\n"]);
        }
        report.push_str(if status == StatusCode::OK {
            "ready\n"
        } else {
            "not ready\n"
        });
        (status, report)
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl<B> Service<Request<B>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asks = matches!(*request.method(), Method::GET | Method::HEAD);
        let (status, kind, body) = if asks {
            self.answer(request.uri().path())
        } else {
            let body = "only GET and HEAD\n".into();
            (StatusCode::METHOD_NOT_ALLOWED, TEXT, body)
        };
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !asks {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        ready(Ok(response))
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.checks.iter().map(|check| check.name);
        f.debug_struct("Admin")
            .field("checks", &checks.collect::<Vec<_>>())
            .field("metrics", &self.metrics.is_some())
            .finish()
    }
}
