use std::fmt;
use std::sync::Arc;

use crate::Watched;

/// Whether a part can do its work now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// The part can do its work.
    Ready,
    /// The part can do its work, but an operator should look at it: the active value is older than its files.
    Degraded(String),
    /// The part cannot do its work, so requests should go elsewhere.
    NotReady(String),
}

/// A part's name and whether it can do its work now. `Clone` costs an `Arc`.
#[derive(Clone)]
pub struct Check {
    pub(super) name: &'static str,
    pub(super) ask: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

impl Check {
    /// Makes a check that calls `ask` at each `/readyz`; `ask` must not block.
    pub fn new(name: &'static str, ask: impl Fn() -> Readiness + Send + Sync + 'static) -> Self {
        let ask = Arc::new(ask);
        Self { name, ask }
    }

    /// Makes a check that reports a snapshot whose last reload failed.
    pub fn watching<T: Send + Sync + 'static>(name: &'static str, watched: &Watched<T>) -> Self {
        let watched = watched.clone();
        Self::new(name, move || Readiness::of(&watched))
    }
}

impl Readiness {
    /// Returns the readiness of a snapshot: the last good value stays active when a reload fails, and may
    /// [end](crate::reload::WatchOptions::stale_after) if that goes on.
    pub fn of<T>(watched: &Watched<T>) -> Self {
        let health = watched.health();
        match health.failure {
            None => Self::Ready,
            Some(failure) if health.lapsed => Self::NotReady(format!(
                "it has ended, because its files could not be used for too long: {failure}"
            )),
            Some(failure) => Self::Degraded(format!("the last reload failed: {failure}")),
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}
