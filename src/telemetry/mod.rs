//! The metrics of the crate, counted through the [`metrics`](https://docs.rs/metrics) facade (feature
//! `metrics`), and the catalogue that describes them.

mod catalogue;
#[cfg(feature = "rate")]
pub(crate) mod limit_meters;
pub(crate) mod metrics;
#[cfg(not(feature = "metrics"))]
mod no_op;
#[cfg(feature = "metrics")]
pub(crate) mod recorder;

#[cfg(feature = "metrics")]
pub use catalogue::describe_metrics;
pub use catalogue::{METRICS, Metric};
