use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests of one lane at once. Servers let a connection have at least 100 streams (RFC 9113 §6.5.2).
const STREAMS: usize = 32;

/// Lanes without a request that are kept, with their connections, for the next one of their sources.
const FREE: usize = 16;

/// Clients that each have a connection of HTTP/2 of their own, for one source of requests alone. A client makes no second
/// connection to a host, so that callers who do not read could have all its streams, and a server ends one whose streams
/// are reset too often, with the requests of all.
#[derive(Debug)]
pub(super) struct Lanes<C> {
    /// Whether requests share connections; else one client is enough.
    is_shared: bool,
    lanes: Mutex<Vec<Lane<C>>>,
}

#[derive(Debug)]
struct Lane<C> {
    source: Box<str>,
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

    /// The first client of this source that has a stream left, with that stream; a new one if none has.
    pub(super) fn take(
        &self,
        source: &str,
        make: impl FnOnce() -> C,
    ) -> (C, Option<OwnedSemaphorePermit>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let source = if self.is_shared { source } else { "" };
        for lane in lanes.iter().filter(|lane| *lane.source == *source) {
            if !self.is_shared {
                return (lane.client.clone(), None);
            }
            if let Ok(stream) = Arc::clone(&lane.streams).try_acquire_owned() {
                return (lane.client.clone(), Some(stream));
            }
        }
        // The oldest go first.
        let is_free = |lane: &Lane<C>| lane.streams.available_permits() == STREAMS;
        let mut surplus = { lanes.iter() }.filter(|lane| is_free(lane)).count();
        lanes.retain(|lane| {
            let goes = surplus > FREE && is_free(lane);
            surplus -= usize::from(goes);
            !goes
        });
        let client = make();
        let streams = Arc::new(Semaphore::new(STREAMS));
        let stream = Arc::clone(&streams).try_acquire_owned().ok();
        lanes.push(Lane {
            source: source.into(),
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
    fn a_lane_is_full_with_its_streams_and_is_of_one_source() {
        let lanes = Lanes::new(true);
        let mut next = 0..;
        let mut take = |source: &str| lanes.take(source, || next.next().unwrap_or_default());
        let mut held: Vec<_> = (0..=2 * STREAMS).map(|_| take("a")).collect();
        let clients: Vec<_> = held.iter().map(|(client, _)| *client).collect();
        assert_eq!(clients[..STREAMS], [0; STREAMS]);
        assert_eq!(clients[STREAMS..2 * STREAMS], [1; STREAMS]);
        assert_eq!(clients[2 * STREAMS], 2);
        let other = take("b");
        assert_eq!(other.0, 3);
        held.remove(3);
        assert_eq!(take("a").0, 0);
        held.clear();
        assert_eq!(take("b").0, 3);
    }

    #[test]
    fn lanes_without_a_request_are_few_and_those_in_use_stay() {
        let lanes = Lanes::new(true);
        let used = lanes.take("used", || usize::MAX);
        for source in 0..100 {
            let _ = lanes.take(&source.to_string(), || source);
        }
        assert_eq!(lanes.lanes.lock().map_or(0, |lanes| lanes.len()), FREE + 2);
        assert_eq!(lanes.take("used", || 0).0, usize::MAX);
        assert_eq!(lanes.take("99", || 0).0, 99);
        drop(used);
        lanes.clear();
        assert_eq!(lanes.take("used", || 0).0, 0);
    }

    #[test]
    fn where_no_connection_is_shared_there_is_one() {
        let lanes = Lanes::new(false);
        let held = (0..100).map(|client| lanes.take(&client.to_string(), || client));
        let held: Vec<_> = held.collect();
        assert!({ held.iter() }.all(|(client, stream)| *client == 0 && stream.is_none()));
    }
}
