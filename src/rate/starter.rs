use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// Starts a task at its first use, since there is a runtime only then. The task ends when the value that it is
/// for is dropped.
pub(super) struct Starter<T>(OnceLock<()>, Mutex<Option<Start<T>>>);

type Start<T> = Box<dyn FnOnce(Weak<T>) + Send>;

#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "only a fleet has tasks")
)]
impl<T> Starter<T> {
    pub(super) fn new(start: impl FnOnce(Weak<T>) + Send + 'static) -> Self {
        Self(OnceLock::new(), Mutex::new(Some(Box::new(start))))
    }

    /// Starts the task for `this`, if it has not been started.
    pub(super) fn start(&self, this: &Arc<T>) {
        self.0.get_or_init(|| {
            let mut start = self.1.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(start) = start.take() {
                start(Arc::downgrade(this));
            }
        });
    }
}

#[cfg(feature = "redis")]
impl<T> Starter<T> {
    /// Whether there is a task.
    pub(super) fn is_started(&self) -> bool {
        self.0.get().is_some()
    }
}

impl<T> fmt::Debug for Starter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
