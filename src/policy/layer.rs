use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Policy, TagOracle};
use crate::oci::BasePath;
use crate::{Preset, Responder, Watched};

/// Refuses what a policy does not allow. See the [module](super).
///
/// ```
/// use portcullis::policy::{Actions, Pattern, Policy, PolicyLayer, Rule, Who};
/// use portcullis::{Preset, Responder, Watched};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let library = Rule::allow("library", Who::Anyone, Actions::PULL)
///     .on_repositories([Pattern::repository("library/**")?]);
/// let stricter = Policy::new([])?; // It allows nothing.
/// let layer = PolicyLayer::new(Policy::new([library])?)
///     // What the stricter policy would refuse is logged and counted, and passes.
///     .with_shadow(Watched::fixed(stricter))
///     // Answers 404 where the truth is 403.
///     .with_responder(Responder::new(Preset::Registry).with_hidden(true));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PolicyLayer {
    /// Tells this layer's verdicts from those of another on the same connection.
    pub(super) id: u64,
    pub(crate) policy: Watched<Policy>,
    pub(crate) shadow: Option<Watched<Policy>>,
    pub(super) tags: Option<Arc<dyn TagOracle>>,
    pub(super) responder: Responder,
    pub(super) base_path: Option<BasePath>,
}

impl PolicyLayer {
    /// Lets through what `policy` allows.
    pub fn new(policy: Policy) -> Self {
        Self::watching(Watched::fixed(policy))
    }

    /// Lets through what `policy` allows at the time of each request.
    pub fn watching(policy: Watched<Policy>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            policy,
            shadow: None,
            tags: None,
            responder: Responder::new(Preset::default()),
            base_path: None,
        }
    }

    /// Asks a second policy too, counts where the two differ and notes it in the access log, and enforces
    /// nothing of it.
    pub fn with_shadow(mut self, shadow: Watched<Policy>) -> Self {
        self.shadow = Some(shadow);
        self
    }

    /// Sets the oracle that distinguishes the making of a tag from its change. Default: a caller that sets a
    /// tag must be allowed both.
    pub fn with_tag_oracle(mut self, oracle: impl TagOracle + 'static) -> Self {
        self.tags = Some(Arc::new(oracle));
        self
    }

    /// Answers refused requests in this way. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }

    /// Reads paths as what is left of those under `base`, as
    /// [`guard::Builder::base_path`](crate::guard::Builder::base_path) does.
    pub fn with_base_path(mut self, base: &str) -> Self {
        self.base_path = Some(BasePath::new(base));
        self
    }
}

impl fmt::Debug for PolicyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyLayer")
            .field("policy", &self.policy)
            .field("shadow", &self.shadow)
            .field("responder", &self.responder)
            .finish_non_exhaustive()
    }
}
