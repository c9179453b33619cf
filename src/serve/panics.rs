use std::any::Any;

use crate::telemetry::metrics;
use crate::util::printable::printable;

/// The longest part of a panic's message that is logged.
const MESSAGE: usize = 512;

/// Logs and counts a panic of the service.
pub(super) fn log(payload: &(dyn Any + Send), outcome: &str) {
    metrics::service_panicked();
    let text = payload.downcast_ref::<&str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = printable(message.unwrap_or("a value that is no text"), MESSAGE);
    tracing::error!(%message, "the service panicked: {outcome}. Mend the service");
}
