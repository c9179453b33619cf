use std::time::Duration;

/// How much of what a client still sends is read and dropped, so that an answer which it does not await arrives.
pub(crate) const MOST_UNREAD: u32 = 256 * 1024;

/// How long that may take.
pub(crate) const LONGEST_UNREAD: Duration = Duration::from_secs(2);
