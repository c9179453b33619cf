use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy;
use parking_lot::Mutex;
use portcullis::oci::{ErrorCode, RouteError, error_body};

use super::bodies::{Progress, ProxyBody, ReceiveError};
use super::connector::ConnectError;
use super::framing::FramingError;
use super::in_flight::Crowded;
use super::targets::TargetError;
use super::upstream::UpstreamError;
use crate::process::error_chain::chain;

#[path = "../../../src/util/seldom.rs"]
mod seldom;

use self::seldom::Seldom;

/// How often a problem of one kind is logged.
const PAUSE: Duration = Duration::from_secs(10);

/// Seconds after which a client that found no place does well to come again.
const COME_AGAIN: u16 = 5;

/// Why the registry's answer is not the client's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("no connection to the registry: {0}")]
    Unreachable(String),
    #[error("no connection to the registry within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the registry gave no answer within {0:?}")]
    Silent(Duration),
    #[error("the connection to the registry ended: {0}")]
    Ended(String),
    #[error(
        "the registry answers 401: it wants credentials of the gate's own; name them with --authorization-file"
    )]
    Unauthorized,
    #[error("the client's body ended early: {0}")]
    Client(String),
    #[error("the client's request cannot be passed on: {0}")]
    Request(FramingError),
    #[error("the registry's answer cannot be passed on: {0}")]
    Answer(FramingError),
    #[error("the registry answers {0} to a request that asks for no other protocol")]
    NotFinal(StatusCode),
    #[error("the registry answers {0}, which is no status of HTTP")]
    Status(StatusCode),
    #[error("the registry's answer broke off at its beginning: {}", chain(.0))]
    Cut(ReceiveError),
    #[error("the registry's Location cannot be made one of the gate's: {0:?}")]
    Location(HeaderValue),
    #[error("{0}")]
    Route(RouteError),
    #[error("{0}")]
    Target(#[from] UpstreamError),
    #[error("{0}")]
    Refused(#[from] TargetError),
    #[error("{0}")]
    Crowded(#[from] Crowded),
}

/// Counts the problems with one registry, and logs those of a kind once in a while: a registry that is down
/// fails every request.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<BTreeMap<&'static str, Seldom>>);

impl Complaints {
    pub(super) fn note(&self, problem: &Problem, upstream: &dyn fmt::Display) {
        let reason = problem.reason();
        let name = upstream.to_string();
        metrics::counter!("gate_upstream_problems_total", "upstream" => name, "reason" => reason)
            .increment(1);
        if matches!(
            problem,
            Problem::Client(_) | Problem::Request(_) | Problem::Route(_)
        ) {
            tracing::debug!(%upstream, "{problem}");
            return;
        }
        let held_back = {
            let mut kinds = self.0.lock();
            let kind = kinds.entry(reason);
            kind.or_insert_with(|| Seldom::every(PAUSE)).allow()
        };
        match (problem, held_back) {
            (_, None) => {}
            (Problem::Unauthorized, Some(held_back)) => {
                tracing::error!(%upstream, held_back, "{problem}");
            }
            (_, Some(held_back)) => tracing::warn!(%upstream, held_back, "{problem}"),
        }
    }
}

impl Problem {
    pub(super) fn of(error: &legacy::Error, progress: &Progress) -> Self {
        if progress.client_failed() {
            return Self::Client(chain(error));
        }
        if !error.is_connect() {
            return Self::Ended(chain(error));
        }
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            if let Some(ConnectError::Timeout(limit)) = error.downcast_ref() {
                return Self::ConnectTimeout(*limit);
            }
            cause = error.source();
        }
        Self::Unreachable(chain(error))
    }

    /// What the metric calls it.
    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::Silent(_) => "silent",
            Self::Ended(_) | Self::Cut(_) => "ended",
            Self::Unauthorized => "unauthorized",
            Self::Client(_) | Self::Request(_) => "client",
            Self::Answer(_) | Self::NotFinal(_) | Self::Status(_) | Self::Location(_) => "answer",
            Self::Route(_) | Self::Target(_) => "target",
            Self::Refused(_) => "refused",
            Self::Crowded(_) => "busy",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable(_)
            | Self::Ended(_)
            | Self::Unauthorized
            | Self::Answer(_)
            | Self::NotFinal(_)
            | Self::Status(_)
            | Self::Cut(_)
            | Self::Location(_) => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout(_) | Self::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Client(_)
            | Self::Request(_)
            | Self::Target(_)
            | Self::Refused(TargetError::Malformed(_)) => StatusCode::BAD_REQUEST,
            Self::Refused(TargetError::Method) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::Crowded(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Route(error) => error.status(),
        }
    }

    /// The answer in the form of the OCI distribution-spec. What is wrong with the registry is in the log only.
    pub(super) fn answer(&self, method: &Method) -> Response<ProxyBody> {
        let (code, message) = match self {
            Self::Route(error) => (error.code(), error.message()),
            Self::Client(_) => (ErrorCode::Unsupported, "the request's body ended early"),
            Self::Request(_) => (
                ErrorCode::Unsupported,
                "the request's body has no one length, or a transfer coding besides chunked",
            ),
            Self::Answer(_)
            | Self::NotFinal(_)
            | Self::Status(_)
            | Self::Cut(_)
            | Self::Location(_) => (
                ErrorCode::Unavailable,
                "the registry behind the gate gives no answer that can be passed on",
            ),
            Self::Refused(TargetError::Malformed(_)) => {
                (ErrorCode::Unsupported, "the request names no one host")
            }
            Self::Refused(TargetError::Method) => {
                (ErrorCode::Unsupported, "no tunnel is made here")
            }
            Self::Refused(_) => (
                ErrorCode::Denied,
                "this host or port is not one that the egress goes to",
            ),
            Self::Target(_) => (ErrorCode::Unsupported, "the target cannot be passed on"),
            Self::ConnectTimeout(_) | Self::Silent(_) => (
                ErrorCode::Unavailable,
                "the registry behind the gate does not answer in time",
            ),
            Self::Crowded(_) => (
                ErrorCode::Unavailable,
                "too many requests are in flight; try again later",
            ),
            _ => (
                ErrorCode::Unavailable,
                "the registry behind the gate cannot be reached",
            ),
        };
        let body = error_body(code, message);
        let length = body.len();
        let shown = if method == Method::HEAD {
            Bytes::new()
        } else {
            body
        };
        let mut response = Response::new(ProxyBody::Problem {
            body: Full::new(shown),
        });
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if matches!(self, Self::Crowded(_)) {
            headers.insert(RETRY_AFTER, HeaderValue::from(COME_AGAIN));
        }
        headers.insert(
            HeaderName::from_static("docker-distribution-api-version"),
            HeaderValue::from_static("registry/2.0"),
        );
        response
    }
}
