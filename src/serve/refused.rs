use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::places::Full;

/// Each kind of trouble is logged this often at most: a flood must not fill a disk.
const EVERY: Duration = Duration::from_secs(10);

/// When something was logged last, and how often it happened since.
struct Seldom(Mutex<Option<(Instant, u64)>>);

impl Seldom {
    const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// How often it happened since it was logged last, if it is to be logged now.
    fn allow(&self) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &mut *last {
            Some((logged, since)) if now.duration_since(*logged) < EVERY => {
                *since += 1;
                None
            }
            last => {
                let since = last.map_or(0, |(_, since)| since);
                *last = Some((now, 0));
                Some(since)
            }
        }
    }
}

/// Logs that a connection was refused.
pub(super) fn connection(peer: SocketAddr, full: Full) {
    static SOURCE: Seldom = Seldom::new();
    static ALL: Seldom = Seldom::new();
    let (seldom, bound) = match full {
        Full::Source => (&SOURCE, "max_connections_per_source"),
        Full::Network => (&SOURCE, "max_connections_per_network"),
        Full::All => (&ALL, "max_connections"),
    };
    if let Some(more) = seldom.allow() {
        tracing::warn!(
            %peer, bound, more,
            "a connection is refused: its source has as many in use as it may have. If many clients come \
             from this address, list it as a proxy or raise the bound"
        );
    }
}

/// Logs that a proxy did not say for whom it speaks.
pub(super) fn proxy_header(peer: SocketAddr, error: &dyn Display) {
    static SELDOM: Seldom = Seldom::new();
    if let Some(more) = SELDOM.allow() {
        tracing::warn!(%peer, %error, more, "a connection of a listed proxy is refused");
    }
}

/// Logs that connections cannot be accepted.
pub(super) fn accept(error: &std::io::Error) {
    static SELDOM: Seldom = Seldom::new();
    if let Some(more) = SELDOM.allow() {
        tracing::error!(
            %error, more,
            "accepting connections fails: it is tried again. If files or memory of the whole system have \
             run out, something else on it must end"
        );
    }
}

/// Logs that every connection is in use.
pub(super) fn all_in_use(connections: usize) {
    static SELDOM: Seldom = Seldom::new();
    if let Some(more) = SELDOM.allow() {
        tracing::warn!(
            connections,
            more,
            "all connections are in use: further ones wait. Raise max_connections, if memory allows"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_once_and_counted() {
        let seldom = Seldom::new();
        assert_eq!(seldom.allow(), Some(0));
        assert!((0..100).all(|_| seldom.allow().is_none()));
        if let Some((logged, since)) = &mut *seldom.0.lock().unwrap() {
            assert_eq!(*since, 100);
            *logged = Instant::now().checked_sub(EVERY).unwrap();
        }
        assert_eq!(seldom.allow(), Some(100));
    }
}
