use http::header::{Entry, HeaderMap, HeaderName};

/// Keeps the values of a header out of `Debug` and out of HPACK's tables.
pub(crate) fn mark_sensitive(headers: &mut HeaderMap, name: &HeaderName) {
    if let Entry::Occupied(mut entry) = headers.entry(name) {
        for value in entry.iter_mut() {
            value.set_sensitive(true);
        }
    }
}
