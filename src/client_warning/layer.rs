use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::util::clock;

/// Warns callers of what is about to fail them. See the [module](super).
///
/// ```
/// use std::time::Duration;
///
/// use portcullis::client_warning::ClientWarningLayer;
///
/// let day = Duration::from_secs(24 * 60 * 60);
/// let layer = ClientWarningLayer::new()
///     .with_credential_before(30 * day)
///     .with_certificate_before(2 * day);
/// # drop(layer);
/// ```
#[derive(Clone)]
pub struct ClientWarningLayer {
    pub(super) is_on: bool,
    pub(super) credential_before: Duration,
    pub(super) certificate_before: Duration,
    clock: Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl ClientWarningLayer {
    /// Warns of everything that there is to warn of.
    pub fn new() -> Self {
        Self {
            is_on: true,
            credential_before: 14 * DAY,
            certificate_before: 7 * DAY,
            clock: None,
        }
    }

    /// Warns of nothing.
    pub fn off() -> Self {
        Self {
            is_on: false,
            ..Self::new()
        }
    }

    /// Warns of a credential this long before its end. Default: 14 days.
    pub fn with_credential_before(mut self, time: Duration) -> Self {
        self.credential_before = time;
        self
    }

    /// Warns of a client certificate this long before its end, and not before the last tenth of its validity: one that
    /// is renewed each day is not warned of each day. Default: 7 days.
    pub fn with_certificate_before(mut self, time: Duration) -> Self {
        self.certificate_before = time;
        self
    }

    /// Asks this clock how long a credential or certificate is still good. Default: the system's.
    pub fn with_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(now));
        self
    }

    #[cfg(feature = "rate")]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.as_ref().map_or_else(clock::now, |clock| clock())
    }
}

impl Default for ClientWarningLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ClientWarningLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientWarningLayer")
            .field("is_on", &self.is_on)
            .field("credential_before", &self.credential_before)
            .field("certificate_before", &self.certificate_before)
            .finish_non_exhaustive()
    }
}
