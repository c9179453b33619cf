use bytes::Bytes;
use tower::Layer;

use super::watcher::Watcher;
use super::{RevocationLayer, Tracked, Verdict};
use crate::middleware::wiring;
use crate::middleware::{Body, Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::record::Record;
use crate::telemetry::metrics;
use crate::{Connection, Refusal};

/// The service of [`RevocationLayer`].
pub type Revoking<S> = Checked<S, RevocationLayer>;

impl<S> Revoking<S> {
    /// Puts `inner` behind [`RevocationLayer::new`].
    pub fn new(inner: S) -> Self {
        Self::with(inner, RevocationLayer::new())
    }
}

impl<S> Layer<S> for RevocationLayer {
    type Service = Revoking<S>;

    fn layer(&self, inner: S) -> Revoking<S> {
        Revoking::with(inner, self.clone())
    }
}

impl RevocationLayer {
    /// Whether the certificate of the request's connection is still good. Its bodies are watched then;
    /// `bodiless`: the request has none.
    fn decide(&self, head: &Head, bodiless: bool, kept: &mut Kept) -> Result<(), Refusal> {
        let extensions = head.extensions();
        let connection = if self.connection_required {
            Some(wiring::connection(extensions)?)
        } else {
            Connection::of(extensions)
        };
        let tracked = connection.and_then(|one| one.state::<Tracked>().zip(Some(one)));
        let Some((tracked, connection)) = tracked else {
            return if self.certificate_required {
                Err(Refusal::CertificateMissing)
            } else {
                Ok(())
            };
        };
        let record = Record::of(extensions);
        let verdict = (!tracked.is_good()).then(|| tracked.verdict());
        let verdict = verdict.as_deref().unwrap_or(&Verdict::Good);
        if let Some(record) = record {
            record.revocation_checked(verdict.label());
        }
        if let Verdict::UnknownAllowed { .. } = verdict {
            metrics::unknown_allowed();
        }
        if let Some(why) = verdict.exemption() {
            metrics::revocation_exempt(why);
        }
        if let Some(refusal) = verdict.refusal() {
            if let Some(record) = record {
                record.explained(verdict.to_string());
            }
            return Err(refusal);
        }
        let watcher = || Watcher::new(tracked.clone(), record.cloned());
        if !bodiless {
            kept.request.watch = Some(Box::new(watcher()));
        }
        let answer = watcher().holding(connection.begin_request());
        kept.answering.watch = Some(Box::new(answer));
        Ok(())
    }
}

impl<B> Wraps<B> for RevocationLayer {
    type Body = Body<B>;
}

impl<B: http_body::Body<Data = Bytes>> Check<B> for RevocationLayer {
    fn check(&self, head: &mut Head, body: &B, kept: &mut Kept) -> Outcome {
        let decided = self.decide(head, body.is_end_stream(), kept);
        Outcome::of(decided, &self.responder, head)
    }

    fn wrap(body: B, parts: Parts) -> Body<B> {
        Body::with(body, parts)
    }
}
