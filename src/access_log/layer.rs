use std::num::NonZeroU64;
use std::sync::Arc;

use super::Sink;
use super::health::HealthChecks;
use super::meters::Meters;
use super::output::Output;
use crate::oci::BasePath;

/// Writes one event a request and counts it. See the [module](super).
///
/// ```
/// use std::num::NonZeroU64;
///
/// use portcullis::access_log::{AccessLogLayer, TracingSink};
///
/// let every = NonZeroU64::new(100).unwrap();
/// let layer = AccessLogLayer::new()
///     .with_sink(TracingSink)
///     // One in a hundred of the probes that succeed.
///     .with_sampled_health_checks(["/v2/"], every);
/// ```
#[derive(Clone, Debug)]
pub struct AccessLogLayer {
    pub(super) output: Output,
    pub(super) meters: Arc<Meters>,
    pub(super) base_path: Option<BasePath>,
}

impl AccessLogLayer {
    /// Makes a layer that logs every request, and counts where a metrics recorder is installed.
    pub fn new() -> Self {
        Self {
            output: Output::default(),
            meters: Arc::new(Meters::new(true)),
            base_path: None,
        }
    }

    /// Logs only one in `every` successful requests for each of these paths, the first included. A request that
    /// fails or is refused is always logged. Default: every request is logged.
    pub fn with_sampled_health_checks<P: Into<Box<str>>>(
        mut self,
        paths: impl IntoIterator<Item = P>,
        every: NonZeroU64,
    ) -> Self {
        self.output.health = HealthChecks::new(paths.into_iter().map(Into::into).collect(), every);
        self
    }

    /// Writes the events into `sink`. Default: [`TracingSink`](super::TracingSink).
    pub fn with_sink(mut self, sink: impl Sink) -> Self {
        self.output.sink = Arc::new(sink);
        self
    }

    /// Sets whether requests are counted. Default: yes, from the first request on that finds a recorder
    /// installed.
    pub fn with_metrics(mut self, metrics: bool) -> Self {
        self.meters = Arc::new(Meters::new(metrics));
        self
    }

    /// Reads paths as what is left of those under `base`, as
    /// [`guard::Builder::base_path`](crate::guard::Builder::base_path) does.
    pub fn with_base_path(mut self, base: &str) -> Self {
        self.base_path = Some(BasePath::new(base));
        self
    }
}

impl Default for AccessLogLayer {
    fn default() -> Self {
        Self::new()
    }
}
