use std::fmt;
use std::sync::Arc;

use super::health::HealthChecks;
use super::{Sink, TracingSink};

/// Where events go, and which are left out. `Clone` costs two `Arc`s.
#[derive(Clone)]
pub(super) struct Output {
    pub(super) health: HealthChecks,
    pub(super) sink: Arc<dyn Sink>,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            health: HealthChecks::default(),
            sink: Arc::new(TracingSink),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}
