use std::sync::Arc;
use std::time::SystemTime;

use super::Limits;
use super::engine::Engine;
use super::quota::Calendar;
use crate::oci::BasePath;
use crate::{Preset, Responder, Watched};

/// Holds request and response bodies to byte-rate limits. See the [module](super).
///
/// The services of one layer, and of its clones, share the limits' state.
///
/// ```
/// use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
/// use portcullis::{Preset, Responder, Watched};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rate = |bytes_per_second| Limits::new([Limit::rate("total", Key::Total, bytes_per_second)]);
/// let limits = Watched::fixed(rate(100_000_000)?);
/// let layer = ByteRateLayer::watching(limits.clone())
///     .with_responder(Responder::new(Preset::Mirror));
/// // Transfers in flight go on at the new rate.
/// limits.publish(rate(200_000_000)?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ByteRateLayer {
    pub(super) engine: Arc<Engine>,
    pub(super) responder: Responder,
    pub(super) base_path: Option<BasePath>,
    pub(super) notes_near_quota: bool,
    /// Whether there is nothing that it could limit, now or later.
    pub(super) is_empty: bool,
}

impl ByteRateLayer {
    /// Makes a layer that enforces `limits`.
    pub fn new(limits: Limits) -> Self {
        let is_empty = limits.are_none();
        Self {
            is_empty,
            ..Self::watching(Watched::fixed(limits))
        }
    }

    /// Makes a layer that enforces the latest `limits`. A change applies from the next quantum of a stream in
    /// flight on; a limit that keeps its name and key keeps its state.
    pub fn watching(limits: Watched<Limits>) -> Self {
        Self::with(limits, Calendar::default())
    }

    /// Makes a layer as [`ByteRateLayer::watching`] does, whose quotas take the calendar time from `now`.
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
            notes_near_quota: false,
            is_empty: false,
        }
    }

    /// Sets the answer to refused requests. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder;
        self
    }

    /// Notes for [`ClientWarningLayer`](crate::client_warning::ClientWarningLayer), if it stands inside, that nine
    /// tenths of a quota of the caller's or of its group are used. Default: no.
    #[cfg(feature = "auth")]
    #[cfg_attr(docsrs, doc(cfg(feature = "auth")))]
    pub fn with_quota_notices(mut self, note: bool) -> Self {
        self.notes_near_quota = note;
        self
    }

    /// Reads paths as what is left of those under `base`, as
    /// [`guard::Builder::base_path`](crate::guard::Builder::base_path) does.
    pub fn with_base_path(mut self, base: &str) -> Self {
        self.base_path = Some(BasePath::new(base));
        self
    }

    /// Reports to the servers of fleets what was sent last. The layer does so a few times a second by itself;
    /// call this function at the end of a process, or the bytes of the last period are lost to the other
    /// replicas. Waits at most a second for each limit.
    #[cfg(feature = "redis")]
    pub async fn flush(&self) {
        self.engine.flush().await;
    }

    /// Returns how many keys the limit of this name remembers; 0 where there is no such limit.
    pub fn keys(&self, limit: &str) -> usize {
        self.engine.keys(limit)
    }
}
