//! The calendar time, read in one place. What waits or measures uses `tokio::time::Instant` instead.

use std::time::SystemTime;

/// Returns the calendar time of the system.
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Returns the calendar time in whole seconds after 1970; 0 while the system's clock stands before 1970.
#[cfg(any(feature = "crl", feature = "config"))]
pub(crate) fn seconds() -> u64 {
    let since = now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
