use std::time::Duration;

use crate::util::patience;

/// How files are watched.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WatchOptions {
    /// How often the files are polled besides the notifications, at least 10 ms. Default: 5 s.
    pub poll_interval: Duration,
    /// How long files that changed must have been quiet before they are read, so that one which is written in its
    /// place is not read in part; at most [`WatchOptions::poll_interval`]. Default: 50 ms.
    pub settle: Duration,
    /// How long a read may give nothing, as on a network mount whose server is gone, before the file counts as
    /// one that cannot be read. Default: 10 s.
    pub read_timeout: Duration,
    /// How long the last good value stays while its files cannot be used. Then it ends: what it lets in is
    /// refused until the files can be used again. Default: it stays.
    pub stale_after: Option<Duration>,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(5),
            settle: Duration::from_millis(50),
            read_timeout: patience::DEADLINE,
            stale_after: None,
        }
    }
}

impl WatchOptions {
    /// Sets [`WatchOptions::poll_interval`].
    pub fn with_poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Sets [`WatchOptions::settle`].
    pub fn with_settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Sets [`WatchOptions::read_timeout`].
    pub fn with_read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Sets [`WatchOptions::stale_after`].
    pub fn with_stale_after(mut self, time: Duration) -> Self {
        self.stale_after = Some(time);
        self
    }
}
