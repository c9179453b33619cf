use std::sync::atomic::{AtomicUsize, Ordering};

/// How many requests are in flight on a connection, as far as a layer reports them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    told: AtomicUsize,
    over: AtomicUsize,
}

impl Requests {
    pub(super) fn begin(&self) {
        self.told.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end(&self) {
        self.over.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether requests were reported, and none is in flight.
    pub(super) fn are_over(&self) -> bool {
        // In this order: one that begins meanwhile is in flight.
        let over = self.over.load(Ordering::Acquire);
        let told = self.told.load(Ordering::Acquire);
        told > 0 && told == over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_before_the_first_request_and_then_when_all_are_over() {
        let requests = Requests::default();
        assert!(!requests.are_over());
        requests.begin();
        requests.begin();
        assert!(!requests.are_over());
        requests.end();
        assert!(!requests.are_over());
        requests.end();
        assert!(requests.are_over());
    }
}
