use tower::Layer;

use super::{Networks, SourceLayer};
use crate::middleware::{Check, Checked, Head, Kept, Outcome, Parts, Wraps};
use crate::{ClientAddr, Refusal, Watched};

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
        let client = || ClientAddr::of(head.extensions());
        if networks.is_open() || client().is_some_and(|client| networks.permits(client.ip())) {
            Ok(())
        } else if networks.has_lapsed() {
            Err(Refusal::Unavailable)
        } else {
            Err(Refusal::SourceDenied)
        }
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
