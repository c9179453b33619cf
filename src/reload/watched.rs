use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(feature = "crl")]
use std::sync::{MutexGuard, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::telemetry::metrics;
use crate::util::clock;

/// An atomically swapped snapshot with a generation number. `Clone` costs an `Arc`; all clones see
/// the same value.
///
/// ```
/// use portcullis::Watched;
///
/// let limit = Watched::fixed("10 MB/s");
/// let reader = limit.clone();
/// let before = reader.load(); // One atomic load; the value stays as long as this does.
/// assert_eq!(limit.publish("20 MB/s"), 2);
/// assert_eq!((*before, before.generation()), ("10 MB/s", 1));
/// assert_eq!((*reader.load(), reader.generation()), ("20 MB/s", 2));
/// ```
pub struct Watched<T> {
    shared: Arc<Shared<T>>,
}

pub(super) struct Shared<T> {
    name: &'static str,
    current: ArcSwap<Snapshot<T>>,
    generation: AtomicU64,
    changes: watch::Sender<u64>,
    /// Held while a value is published.
    publishing: Mutex<()>,
    #[cfg(feature = "crl")]
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    health: Mutex<Health>,
}

struct Snapshot<T> {
    value: T,
    generation: u64,
    lapsed: bool,
}

/// A snapshot held while it is read. Keep it no longer than a decision takes.
pub struct Current<T>(arc_swap::Guard<Arc<Snapshot<T>>>);

/// Looks at each new value on the thread that publishes it.
#[cfg(feature = "crl")]
pub(crate) trait Listener: Send + Sync {
    fn changed(&self);
}

/// The outcome of the last reload.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// When the active value was loaded.
    pub loaded_at: SystemTime,
    /// Why the newest attempt failed, if it did, even in part; the active value, or a part of it, is then older
    /// than the files.
    pub failure: Option<String>,
    /// Whether the files could not be used for so long that the last good value has ended, and what it let in
    /// is refused.
    pub lapsed: bool,
}

impl<T> Watched<T> {
    /// Makes a value that only the program itself changes, by [`Watched::publish`].
    pub fn fixed(value: T) -> Self {
        Self::named(metrics::FIXED, value)
    }

    pub(crate) fn named(name: &'static str, value: T) -> Self {
        let generation = 1;
        metrics::loaded(name, generation);
        Self {
            shared: Arc::new(Shared {
                name,
                current: ArcSwap::from_pointee(Snapshot {
                    value,
                    generation,
                    lapsed: false,
                }),
                generation: AtomicU64::new(generation),
                changes: watch::Sender::new(generation),
                publishing: Mutex::default(),
                #[cfg(feature = "crl")]
                listeners: Mutex::default(),
                health: Mutex::new(Health {
                    loaded_at: clock::now(),
                    failure: None,
                    lapsed: false,
                }),
            }),
        }
    }

    /// Returns the active value: one atomic load.
    pub fn load(&self) -> Current<T> {
        Current(self.shared.current.load())
    }

    /// Returns the number of the newest snapshot, from 1 and always growing. A verdict that was made with a
    /// [`Current::generation`] equal to this one still holds.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Makes `value` the active one and returns its generation.
    pub fn publish(&self, value: T) -> u64 {
        self.shared.publish(value)
    }

    /// Makes a value of the active one and publishes it, while no other value is published.
    #[cfg(feature = "crl")]
    pub(crate) fn update(&self, make: impl FnOnce(&T) -> T) -> u64 {
        self.shared.update(make)
    }

    /// Returns a receiver of each new generation. Slow receivers skip some and see the newest.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Returns the outcome of the last reload, for a readiness probe.
    pub fn health(&self) -> Health {
        self.shared.health().clone()
    }

    /// Tells this listener of each value that is published from now on, for as long as it lives.
    #[cfg(feature = "crl")]
    pub(crate) fn tell(&self, listener: &Arc<dyn Listener>) {
        let mut listeners = self.shared.listeners();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    /// Notes that a newer value cannot be used.
    #[cfg(feature = "crl")]
    pub(crate) fn failed(&self, reason: String) {
        self.shared.failed(reason);
    }

    #[cfg(feature = "reload")]
    pub(super) fn shared(&self) -> &Shared<T> {
        &self.shared
    }

    #[cfg(feature = "reload")]
    pub(super) fn downgrade(&self) -> std::sync::Weak<Shared<T>> {
        Arc::downgrade(&self.shared)
    }
}

/// Publishes values that come from elsewhere than files, as long as anybody holds them.
#[cfg(feature = "jwt-fetch")]
pub(crate) struct Publisher<T>(std::sync::Weak<Shared<T>>);

#[cfg(feature = "jwt-fetch")]
impl<T> Watched<T> {
    /// A value of this kind, a closed-set label.
    pub(crate) fn published(name: &'static str, value: T) -> Self {
        Self::named(name, value)
    }

    pub(crate) fn publisher(&self) -> Publisher<T> {
        Publisher(self.downgrade())
    }
}

#[cfg(feature = "jwt-fetch")]
impl<T> Publisher<T> {
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub(crate) fn publish(&self, value: T) {
        if let Some(shared) = self.0.upgrade() {
            shared.publish(value);
        }
    }

    /// Notes that the active value is still the newest.
    pub(crate) fn confirmed(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.health().failure = None;
        }
    }

    pub(crate) fn failed(&self, reason: String) {
        if let Some(shared) = self.0.upgrade() {
            shared.failed(reason);
        }
    }

    /// Ends the current value, in whose place this one comes.
    pub(crate) fn lapse(&self, value: T, reason: String) {
        if let Some(shared) = self.0.upgrade() {
            shared.lapse(value, reason);
        }
    }
}

impl<T> Shared<T> {
    fn publish(&self, value: T) -> u64 {
        self.update(|_| value)
    }

    pub(super) fn update(&self, make: impl FnOnce(&T) -> T) -> u64 {
        self.put(make, None)
    }

    /// Publishes what takes the place of a value that has ended, for this reason.
    #[cfg(feature = "reload")]
    pub(super) fn lapse(&self, value: T, reason: String) -> u64 {
        self.put(|_| value, Some(reason))
    }

    /// Publishes what is made of the current value: in the place of one that has ended, if there is a reason
    /// why.
    fn put(&self, make: impl FnOnce(&T) -> T, ended: Option<String>) -> u64 {
        // The lock orders publishers; readers never take it.
        let publishing = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let value = make(&self.value());
        let mut health = self.health();
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let lapsed = ended.is_some();
        let old = self.current.swap(Arc::new(Snapshot {
            value,
            generation,
            lapsed,
        }));
        self.generation.store(generation, Ordering::Release);
        *health = Health {
            loaded_at: clock::now(),
            failure: ended,
            lapsed,
        };
        drop(health);
        self.changes.send_replace(generation);
        if lapsed {
            metrics::lapsed(self.name, generation);
        } else {
            metrics::reloaded(self.name, Some(generation));
        }
        drop(publishing);
        #[cfg(feature = "crl")]
        self.tell_listeners();
        // A large value is freed here, on the publisher's thread, if no reader holds it.
        drop(old);
        generation
    }

    #[cfg(feature = "crl")]
    fn tell_listeners(&self) {
        let told: Vec<_> = self.listeners().iter().filter_map(Weak::upgrade).collect();
        for listener in told {
            listener.changed();
        }
    }

    #[cfg(feature = "crl")]
    fn listeners(&self) -> MutexGuard<'_, Vec<Weak<dyn Listener>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "reload")]
    pub(super) fn failed(&self, reason: String) {
        metrics::reloaded(self.name, None);
        self.health().failure = Some(reason);
    }

    #[cfg(feature = "reload")]
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn value(&self) -> Current<T> {
        Current(self.current.load())
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Current<T> {
    /// Returns the generation of this very snapshot.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Returns whether the last good value has [ended](Health::lapsed), and this one stands in its place:
    /// what it refuses might be allowed, and is answered with
    /// [`Refusal::Unavailable`](crate::Refusal::Unavailable).
    pub fn has_lapsed(&self) -> bool {
        self.0.lapsed
    }
}

impl<T> Deref for Current<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> From<T> for Watched<T> {
    fn from(value: T) -> Self {
        Self::fixed(value)
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> fmt::Debug for Watched<T> {
    // Never the value: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("name", &self.shared.name)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Current<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
