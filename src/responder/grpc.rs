use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// gRPC's own name of a status (`grpc-status`).
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A text beside it, for the caller's log.
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// When a call is worth another try, in milliseconds.
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Whether a request is a gRPC call: `application/grpc` with or without a message format. gRPC-Web is not: its
/// answers have a form of their own.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = value.and_then(|value| value.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// An answer that is all trailers: a gRPC client reads its status from the headers of an answer without a body, and takes
/// every HTTP status but 200 for a failure of the transport.
pub(super) fn answer(
    refused: StatusCode,
    message: &'static str,
    retry_after: Option<u32>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, HeaderValue::from(status(refused)));
    // ASCII without `%`, so that nothing is to be encoded.
    headers.insert(MESSAGE, HeaderValue::from_static(message));
    if let Some(seconds) = retry_after {
        let milliseconds = u64::from(seconds) * 1000;
        headers.insert(PUSHBACK, HeaderValue::from(milliseconds));
    }
    response
}

/// The gRPC status for an HTTP status of a refusal (gRPC's "HTTP to gRPC Status Code Mapping", but for those that a
/// refusal says more exactly).
fn status(status: StatusCode) -> u16 {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            3
        } // INVALID_ARGUMENT
        StatusCode::UNAUTHORIZED => 16,        // UNAUTHENTICATED
        StatusCode::FORBIDDEN => 7,            // PERMISSION_DENIED
        StatusCode::NOT_FOUND => 5,            // NOT_FOUND
        StatusCode::METHOD_NOT_ALLOWED => 12,  // UNIMPLEMENTED
        StatusCode::TOO_MANY_REQUESTS => 8,    // RESOURCE_EXHAUSTED
        StatusCode::SERVICE_UNAVAILABLE => 14, // UNAVAILABLE
        _ => 2,                                // UNKNOWN
    }
}
