use bytes::Bytes;
use http::Version;
use tower::Layer;

use super::AccessLogLayer;
use super::entry::AccessEntry;
use crate::middleware::{Body, Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::oci::BasePath;
use crate::record::request_id;

/// The service of [`AccessLogLayer`].
pub type AccessLog<S> = Checked<S, AccessLogLayer>;

impl<S> AccessLog<S> {
    /// Puts `inner` behind [`AccessLogLayer::new`].
    pub fn new(inner: S) -> Self {
        Self::with(inner, AccessLogLayer::new())
    }
}

impl<S> Layer<S> for AccessLogLayer {
    type Service = AccessLog<S>;

    fn layer(&self, inner: S) -> AccessLog<S> {
        AccessLog::with(inner, self.clone())
    }
}

impl<B> Wraps<B> for AccessLogLayer {
    type Body = Body<B>;
}

impl<B: http_body::Body<Data = Bytes>> Check<B> for AccessLogLayer {
    /// Refuses nothing. Where neither the log nor a recorder wants an entry, the request costs its id.
    fn check(&self, head: &mut Head, body: &B, kept: &mut Kept) -> Outcome {
        BasePath::apply(self.base_path.as_ref(), head);
        let mut id = request_id::of(head.headers());
        if let Some(entry) = AccessEntry::begin(head, &id, &self.output, &self.meters) {
            if !body.is_end_stream() {
                kept.request.count = Some(Box::new(entry.count_received()));
            }
            kept.answering.log = Some(entry);
        }
        // Over HTTP/2 HPACK's table would keep the ids, of which none comes twice, and compare each with all of them.
        id.set_sensitive(head.version() == Version::HTTP_2);
        kept.answering.request_id = Some(id);
        Outcome::Pass
    }

    fn wrap(body: B, parts: Parts) -> Body<B> {
        Body::with(body, parts)
    }
}
