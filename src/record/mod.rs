//! What the layers find out about one request, for the access log and the metrics: a [`Record`] in the
//! request's extensions.

#[cfg_attr(
    not(all(feature = "auth", feature = "policy", feature = "rate")),
    allow(dead_code, reason = "what no layer that is there notes or reads")
)]
mod notices;
#[cfg(feature = "policy")]
mod rate_class;
#[allow(clippy::module_inception, reason = "the one noun of this folder")]
mod record;
pub(crate) mod request_id;

#[allow(
    unused_imports,
    reason = "some sets of features have no layer that notes"
)]
pub(crate) use notices::Notices;
#[cfg(feature = "policy")]
pub use rate_class::RateClass;
pub use record::{Cut, Record};
pub(crate) use request_id::REQUEST_ID;
