//! What an operator can know afterwards: one access-log event a request, and metrics.
//!
//! The access log makes a [`Record`] for each request and puts it in the extensions; the layers
//! inside note in it what they found (principal, route, refusal, time spent throttled), so that the
//! event is whole even if the client goes away before there is a response.

pub(crate) mod metrics;
mod record;

pub use record::{Cut, Record};
