use std::sync::atomic::{AtomicUsize, Ordering};

use super::Connection;

/// How many requests are in flight on a connection, as far as a layer reports them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    told: AtomicUsize,
    over: AtomicUsize,
}

/// A request in flight on a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct RequestInFlight(Connection);

impl Requests {
    /// Whether requests were reported, and none is in flight.
    fn are_over(&self) -> bool {
        // In this order: one that begins meanwhile is in flight.
        let over = self.over.load(Ordering::Acquire);
        let told = self.told.load(Ordering::Acquire);
        told > 0 && told == over
    }
}

impl Connection {
    /// Counts a request that begins on this connection.
    pub(crate) fn begin_request(&self) -> RequestInFlight {
        self.0.requests.told.fetch_add(1, Ordering::AcqRel);
        RequestInFlight(self.clone())
    }

    /// Whether all counted requests are over, one at least.
    pub(crate) fn requests_are_over(&self) -> bool {
        self.0.requests.are_over()
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.0.requests.over.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_before_the_first_request_and_then_when_all_are_over() {
        let connection = Connection::builder("10.0.0.1:1".parse().unwrap()).build();
        assert!(!connection.requests_are_over());
        let (first, second) = (connection.begin_request(), connection.begin_request());
        assert!(!connection.requests_are_over());
        drop(first);
        assert!(!connection.requests_are_over());
        drop(second);
        assert!(connection.requests_are_over());
    }
}
