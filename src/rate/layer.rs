use std::sync::Arc;
use std::time::SystemTime;

use tower::Layer;

use super::engine::Engine;
use super::quota::Calendar;
use super::{ByteRate, Limits};
use crate::oci::BasePath;
use crate::{Preset, Responder, Watched};

/// Holds request and response bodies to byte-rate limits. See the [module](super).
///
/// Services of one layer, and of its clones, share the limits' state.
#[derive(Clone, Debug)]
pub struct ByteRateLayer {
    pub(super) engine: Arc<Engine>,
    pub(super) responder: Responder,
    pub(super) base_path: Option<BasePath>,
}

impl ByteRateLayer {
    /// Enforces `limits`.
    pub fn new(limits: Limits) -> Self {
        Self::watching(Watched::fixed(limits))
    }

    /// Enforces `limits` as they are at the time. A change takes hold with the next turn of a
    /// stream under way; the state of a limit that keeps its name and key stays.
    pub fn watching(limits: Watched<Limits>) -> Self {
        Self::with(limits, Calendar::default())
    }

    /// As [`ByteRateLayer::watching`], with the calendar time that quotas go by from `now`.
    pub fn with_calendar(
        limits: Watched<Limits>,
        now: impl Fn() -> SystemTime + Send + Sync + 'static,
    ) -> Self {
        Self::with(limits, Calendar::new(now))
    }

    fn with(limits: Watched<Limits>, calendar: Calendar) -> Self {
        Self {
            engine: Arc::new(Engine::new(limits, calendar)),
            responder: Responder::new(Preset::default()),
            base_path: None,
        }
    }

    /// Answers refused requests in this way. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }

    /// Reads paths as what is left of those under `base`. See [`BasePath`].
    pub fn with_base_path(mut self, base: impl Into<BasePath>) -> Self {
        self.base_path = Some(base.into());
        self
    }

    /// Tells the servers of fleets what was sent last, which else happens a few times a second. For the
    /// end of a process: without it, what was sent in the last period is lost to the others. Waits for a
    /// second at most for each limit.
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    pub async fn flush(&self) {
        self.engine.flush().await;
    }

    /// How many keys the limit of this name remembers.
    pub fn keys(&self, limit: &str) -> usize {
        self.engine.keys(limit)
    }
}

impl<S> Layer<S> for ByteRateLayer {
    type Service = ByteRate<S>;

    fn layer(&self, inner: S) -> ByteRate<S> {
        ByteRate::with(inner, self.clone())
    }
}
