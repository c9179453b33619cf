//! The clocks of the system, read in one place. What waits or measures on the runtime uses
//! `tokio::time::Instant` instead, which a test can stop.

use std::time::SystemTime;

/// Returns the calendar time of the system.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Returns the time by which work is measured that a thread does apart from the runtime: a stopped clock of
/// the runtime does not stop that.
#[cfg(feature = "reload")]
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub(crate) fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// Returns the calendar time in whole seconds after 1970; 0 while the system's clock stands before 1970.
#[cfg(any(feature = "crl", feature = "config"))]
pub(crate) fn seconds() -> u64 {
    let since = now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
