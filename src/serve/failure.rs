use std::error::Error;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::IncomingError;
use crate::BodyError;
use crate::oci::{self, ErrorCode};
use crate::record::Cut;

/// The answer for a service that failed with this error. It is logged where the service is at fault.
pub(super) fn of(error: &(dyn Error + 'static)) -> Response<Bytes> {
    if let Some(incoming) = cause::<IncomingError>(error) {
        tracing::debug!(error = %incoming, "the body of a request failed");
        return match incoming {
            IncomingError::Hyper(_) => answer(StatusCode::BAD_REQUEST),
            _ => answer(StatusCode::REQUEST_TIMEOUT),
        };
    }
    if let Some(cut) = cause::<Cut>(error) {
        tracing::debug!(%cut, "the body of a request was cut");
    } else {
        let error = crate::util::error_chain::chain(error);
        tracing::error!(%error, "the service failed instead of answering");
    }
    internal()
}

/// The answer for a service that panicked.
pub(super) fn internal() -> Response<Bytes> {
    answer(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer for a source that has as many requests in flight as it may have.
pub(super) fn busy() -> Response<Bytes> {
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE);
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

fn answer(status: StatusCode) -> Response<Bytes> {
    let message = match status {
        StatusCode::BAD_REQUEST => "the body of the request could not be read",
        StatusCode::REQUEST_TIMEOUT => "the body of the request came too slowly",
        StatusCode::SERVICE_UNAVAILABLE => "too many requests are in flight",
        _ => ErrorCode::Unknown.message(),
    };
    let body = oci::error_body(ErrorCode::Unknown, message);
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(
        HeaderName::from_static("docker-distribution-api-version"),
        HeaderValue::from_static("registry/2.0"),
    );
    response
}

/// The error of this type among the causes of another.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        at = match error.downcast_ref() {
            // Its `source` is that of the error which it passes on.
            Some(BodyError::Inner(inner)) => Some(&**inner),
            Some(BodyError::Cut(cut)) => Some(cut),
            _ => error.source(),
        };
    }
    None
}
