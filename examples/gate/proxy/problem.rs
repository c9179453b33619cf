use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy;
use portcullis::oci::{ErrorCode, RouteError, error_body};

use super::bodies::{Progress, ProxyBody};
use super::connector::ConnectError;
use super::upstream::{Upstream, UpstreamError};
use crate::log::chain;

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
    #[error("{0}")]
    Route(RouteError),
    #[error("{0}")]
    Target(#[from] UpstreamError),
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

    pub(super) fn log(&self, upstream: &Upstream) {
        match self {
            Self::Client(_) | Self::Route(_) => tracing::debug!(%upstream, "{self}"),
            Self::Unauthorized => tracing::error!(%upstream, "{self}"),
            _ => tracing::warn!(%upstream, "{self}"),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable(_) | Self::Ended(_) | Self::Unauthorized => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout(_) | Self::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Client(_) | Self::Target(_) => StatusCode::BAD_REQUEST,
            Self::Route(error) => error.status(),
        }
    }

    /// The answer in the form of the OCI distribution-spec. What is wrong with the registry is in the log only.
    pub(super) fn answer(&self, method: &Method) -> Response<ProxyBody> {
        let (code, message) = match self {
            Self::Route(error) => (error.code(), error.message()),
            Self::Client(_) => (ErrorCode::Unsupported, "the request's body ended early"),
            Self::Target(_) => (ErrorCode::Unsupported, "the target cannot be passed on"),
            Self::ConnectTimeout(_) | Self::Silent(_) => (
                ErrorCode::Unavailable,
                "the registry behind the gate does not answer in time",
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
        headers.insert(
            HeaderName::from_static("docker-distribution-api-version"),
            HeaderValue::from_static("registry/2.0"),
        );
        response
    }
}
