//! What the layers find out about one request, for the access log and the metrics: a [`Record`] in the
//! request's extensions.

#[cfg(feature = "policy")]
mod rate_class;
#[allow(clippy::module_inception, reason = "the one noun of this folder")]
mod record;
pub(crate) mod request_id;

#[cfg(feature = "policy")]
pub use rate_class::RateClass;
pub use record::{Cut, Record};
pub(crate) use request_id::REQUEST_ID;
