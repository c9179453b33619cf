use super::Networks;
use crate::{Preset, Responder, Watched};

/// Refuses clients whose network is not allowed. See the [module](super).
///
/// ```
/// use portcullis::source::{Networks, SourceLayer};
/// use portcullis::{Preset, Responder, Watched};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let networks = Watched::fixed(Networks::allow(["10.0.0.0/8".parse()?]));
/// let layer = SourceLayer::watching(networks.clone())
///     .with_responder(Responder::new(Preset::Registry));
/// // Requests that come from now on are held to these.
/// networks.publish(Networks::allow(["10.1.0.0/16".parse()?]));
/// # Ok(()) }
/// ```
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
