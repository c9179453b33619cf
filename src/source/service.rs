use tower::Layer;

use super::{Networks, SourceLayer};
use crate::middleware::wiring;
use crate::middleware::{Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::{Refusal, Watched};

/// The service of [`SourceLayer`].
pub type Source<S> = Checked<S, SourceLayer>;

impl<S> Source<S> {
    /// Puts `inner` behind [`SourceLayer::watching`].
    pub fn new(inner: S, networks: impl Into<Watched<Networks>>) -> Self {
        Self::with(inner, SourceLayer::watching(networks.into()))
    }
}

impl<S> Layer<S> for SourceLayer {
    type Service = Source<S>;

    fn layer(&self, inner: S) -> Source<S> {
        Source::with(inner, self.clone())
    }
}

impl SourceLayer {
    /// Whether the client's network is allowed.
    fn decide(&self, head: &Head) -> Result<(), Refusal> {
        let networks = self.networks.load();
        if networks.is_open() {
            return Ok(());
        }
        if networks.has_lapsed() {
            return Err(Refusal::Unavailable);
        }
        let client = wiring::address(head.extensions())?;
        let permitted = networks.permits(client.ip());
        permitted.then_some(()).ok_or(Refusal::SourceDenied)
    }
}

impl<B> Wraps<B> for SourceLayer {
    type Body = B;
}

impl<B> Check<B> for SourceLayer {
    fn check(&self, head: &mut Head, _: &B, _: &mut Kept) -> Outcome {
        Outcome::of(self.decide(head), &self.responder, head)
    }

    fn wrap(body: B, _: Parts) -> B {
        body
    }
}
