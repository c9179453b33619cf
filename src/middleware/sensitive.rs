use http::header::{HeaderMap, HeaderName};

/// Keeps the values of these headers out of `Debug` and out of HPACK's tables. In one walk, since each request has few
/// headers.
pub(crate) fn mark_sensitive(headers: &mut HeaderMap, names: &[HeaderName]) {
    for (name, value) in headers {
        if names.contains(name) {
            value.set_sensitive(true);
        }
    }
}
