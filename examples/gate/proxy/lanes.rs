use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests of one lane at once. Servers let a connection have at least 100 streams (RFC 9113 §6.5.2).
const STREAMS: usize = 32;

/// Clients that each have a connection of HTTP/2 of their own. A client makes no second one to a host, so that callers
/// who do not read could have all its streams, and keep the others out.
#[derive(Debug)]
pub(super) struct Lanes<C> {
    /// Whether requests share connections; else one client is enough.
    is_shared: bool,
    lanes: Mutex<Vec<Lane<C>>>,
}

#[derive(Debug)]
struct Lane<C> {
    client: C,
    streams: Arc<Semaphore>,
}

impl<C: Clone> Lanes<C> {
    pub(super) fn new(is_shared: bool) -> Self {
        Self {
            is_shared,
            lanes: Mutex::default(),
        }
    }

    /// The first client that has a stream left, with that stream; a new one if none has.
    pub(super) fn take(&self, make: impl FnOnce() -> C) -> (C, Option<OwnedSemaphorePermit>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // The last ones are those that were needed for a short time.
        while let [_, .., last] = &**lanes
            && last.streams.available_permits() == STREAMS
        {
            lanes.pop();
        }
        for lane in &*lanes {
            if !self.is_shared {
                return (lane.client.clone(), None);
            }
            if let Ok(stream) = Arc::clone(&lane.streams).try_acquire_owned() {
                return (lane.client.clone(), Some(stream));
            }
        }
        let client = make();
        let streams = Arc::new(Semaphore::new(STREAMS));
        let stream = Arc::clone(&streams).try_acquire_owned().ok();
        lanes.push(Lane {
            client: client.clone(),
            streams,
        });
        (client, stream.filter(|_| self.is_shared))
    }

    /// Leaves the clients to those that use them now.
    pub(super) fn clear(&self) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_full_with_its_streams_and_goes_once_it_is_empty() {
        let lanes = Lanes::new(true);
        let mut next = 0..;
        let mut take = || lanes.take(|| next.next().unwrap_or_default());
        let mut held: Vec<_> = (0..=2 * STREAMS).map(|_| take()).collect();
        let clients: Vec<_> = held.iter().map(|(client, _)| *client).collect();
        assert_eq!(clients[..STREAMS], [0; STREAMS]);
        assert_eq!(clients[STREAMS..2 * STREAMS], [1; STREAMS]);
        assert_eq!(clients[2 * STREAMS], 2);
        held.remove(3);
        assert_eq!(take().0, 0);
        held.clear();
        assert_eq!(take().0, 0);
        assert_eq!(lanes.lanes.lock().map_or(0, |lanes| lanes.len()), 1);
        lanes.clear();
        assert_eq!(take().0, 3);
    }

    #[test]
    fn where_no_connection_is_shared_there_is_one() {
        let lanes = Lanes::new(false);
        let held: Vec<_> = (0..100).map(|client| lanes.take(|| client)).collect();
        assert!(
            held.iter()
                .all(|(client, stream)| *client == 0 && stream.is_none())
        );
    }
}
