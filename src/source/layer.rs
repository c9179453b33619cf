use super::Networks;
use crate::{Preset, Responder, Watched};

/// Refuses clients whose network is not allowed. See the [module](super).
#[derive(Clone, Debug)]
pub struct SourceLayer {
    pub(super) networks: Watched<Networks>,
    pub(super) responder: Responder,
}

impl SourceLayer {
    /// Refuses clients in networks that `networks` does not permit.
    pub fn new(networks: Networks) -> Self {
        Self::watching(Watched::fixed(networks))
    }

    /// Refuses clients in networks that the latest `networks` do not permit.
    pub fn watching(networks: Watched<Networks>) -> Self {
        Self {
            networks,
            responder: Responder::new(Preset::default()),
        }
    }

    /// Sets the answer to refused requests. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }
}
