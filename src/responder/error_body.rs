use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::oci::ErrorCode;

/// What an answer tells a client of a refusal, for an error body of the program's own
/// ([`Responder::with_error_body`](super::Responder::with_error_body)). It does not tell one wrong credential from
/// another, nor what is hidden from what is not there.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ErrorAnswer<'a> {
    /// The answer's status.
    pub status: StatusCode,
    /// The distribution-spec's code.
    pub code: ErrorCode,
    /// The text for the client.
    pub message: &'static str,
    /// The request's method. The body of an answer to HEAD is not sent.
    pub method: &'a Method,
    /// The request's target.
    pub uri: &'a Uri,
    /// The request's headers, `Accept` among them.
    pub headers: &'a HeaderMap,
}

type Make = dyn Fn(&ErrorAnswer<'_>) -> Option<(HeaderValue, Bytes)> + Send + Sync;

/// What makes such bodies.
#[derive(Clone)]
pub(super) struct Hook(pub(super) Arc<Make>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
