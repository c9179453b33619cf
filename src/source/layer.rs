use super::Networks;
use crate::{Preset, Responder, Watched};

/// Refuses clients whose network is not allowed. See the [module](super).
#[derive(Clone, Debug)]
pub struct SourceLayer {
    pub(super) networks: Watched<Networks>,
    pub(super) responder: Responder,
}

impl SourceLayer {
    /// Allows what `networks` permits.
    pub fn new(networks: Networks) -> Self {
        Self::watching(Watched::fixed(networks))
    }

    /// Allows what `networks` permits at the time of each request.
    pub fn watching(networks: Watched<Networks>) -> Self {
        Self {
            networks,
            responder: Responder::new(Preset::default()),
        }
    }

    /// Answers refused requests in this way. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }
}
