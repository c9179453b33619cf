use tower::Layer;

use super::Revoking;
use crate::{Preset, Responder};

/// Refuses requests on connections whose client certificate is no longer good, and ends their
/// transfers. See the [module](super).
#[derive(Clone, Debug)]
pub struct RevocationLayer {
    responder: Responder,
}

impl RevocationLayer {
    /// Checks what the acceptor [tracks](super::Tracked) for a connection. Connections of which it
    /// tracks nothing have no client certificate to be revoked; they pass.
    pub fn new() -> Self {
        Self {
            responder: Responder::new(Preset::default()),
        }
    }

    /// Answers refused requests in this way. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }
}

impl Default for RevocationLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RevocationLayer {
    type Service = Revoking<S>;

    fn layer(&self, inner: S) -> Revoking<S> {
        Revoking::new(inner, self.responder.clone())
    }
}
