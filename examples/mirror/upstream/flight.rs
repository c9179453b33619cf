use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;

/// Work that several callers want at once is done once. `Clone` costs an `Arc`.
///
/// The work is polled by those who wait for it, so it ends when the last of them leaves, and nothing
/// of it is kept.
pub(super) struct Flights<K, T>(Arc<Inner<K, T>>);

/// The flights by key, each with its number.
type Running<K, T> = HashMap<K, (u64, WeakShared<BoxFuture<'static, T>>)>;

struct Inner<K, T> {
    running: Mutex<Running<K, T>>,
    numbers: AtomicU64,
}

/// Takes the flight off the list when it is over or given up.
struct Landing<K: Eq + Hash, T> {
    flights: Flights<K, T>,
    key: K,
    number: u64,
}

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            running: Mutex::default(),
            numbers: AtomicU64::new(0),
        }))
    }

    /// The work on `key` that is running.
    fn running(&self, key: &K) -> Option<Shared<BoxFuture<'static, T>>> {
        let running = self.0.running.lock();
        running.get(key).and_then(|(_, flight)| flight.upgrade())
    }

    /// Waits for the work on `key` that is running, or begins it.
    pub(super) fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Shared<BoxFuture<'static, T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.0.running.lock();
        let known = running.get(&key);
        if let Some(flight) = known.and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        let landing = Landing {
            flights: self.clone(),
            key: key.clone(),
            number,
        };
        let work = work();
        let flight = async move {
            let _landing = landing;
            work.await
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            running.insert(key, (number, weak));
        }
        flight
    }
}

impl<K, V, E> Flights<K, Result<V, E>>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// As [`Flights::join`], where the work needs something first (`turn`): it is waited for before others can join, so that
    /// they never wait for what this caller has too many of.
    pub(super) async fn join_in_turn<P, F>(
        &self,
        key: K,
        turn: impl Future<Output = Result<P, E>>,
        work: impl FnOnce(P) -> F,
    ) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        if let Some(flight) = self.running(&key) {
            return flight.await;
        }
        match turn.await {
            Ok(turn) => self.join(key, || work(turn)).await,
            // Another caller may have begun it meanwhile.
            Err(error) => match self.running(&key) {
                Some(flight) => flight.await,
                None => Err(error),
            },
        }
    }
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        let mut running = self.flights.0.running.lock();
        // Another may have begun since the last caller left this one.
        if running
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            running.remove(&self.key);
        }
    }
}

impl<K, T> Clone for Flights<K, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_for_all_who_wait_and_nothing_stays_of_it() {
        let flights: Flights<&str, usize> = Flights::new();
        let (count, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let start = || {
            let (count, go) = (Arc::clone(&count), Arc::clone(&go));
            move || async move {
                go.notified().await;
                count.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let all: Vec<_> = (0..50).map(|_| flights.join("a", start())).collect();
        go.notify_one();
        assert_eq!(futures_util::future::join_all(all).await, vec![1; 50]);
        assert!(flights.0.running.lock().is_empty());
        go.notify_one();
        assert_eq!(flights.join("a", start()).await, 2);
    }

    #[tokio::test]
    async fn work_that_all_have_left_ends_and_leaves_nothing() {
        let flights: Flights<u32, ()> = Flights::new();
        for key in 0..100 {
            drop(flights.join(key, std::future::pending));
        }
        assert!(flights.0.running.lock().is_empty());
    }
}
