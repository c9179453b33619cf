//! Finds out whether a recorder is installed, and keeps handles that wait for one.

use std::cell::Cell;
use std::sync::OnceLock;

use metrics::{Gauge, IntoF64, Key, Level, Metadata};

/// Handles that are looked up once a recorder is there, and then kept. Those that were looked up before
/// would count nothing for ever.
pub(crate) struct Handles<T>(OnceLock<T>);

impl<T> Handles<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The handles; `None` while no recorder is installed.
    pub(crate) fn get(&self, look_up: impl FnOnce() -> T) -> Option<&T> {
        match self.0.get() {
            None if !is_installed() => None,
            None => Some(self.0.get_or_init(look_up)),
            found => found,
        }
    }
}

impl<T> std::fmt::Debug for Handles<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handles")
            .field("found", &self.0.get().is_some())
            .finish()
    }
}

/// A gauge that each recorder has which counts requests.
static GAUGE: Key = Key::from_static_name("portcullis_requests_in_flight");
static METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// Whether a recorder is installed. The facade does not say: its no-op recorder looks like any other without
/// fields, such as one that writes to a static. They differ in whether a handle of theirs does
/// something; one that has fields counts as a recorder even if it drops this very gauge.
fn is_installed() -> bool {
    metrics::with_recorder(|recorder| {
        size_of_val(recorder) != 0 || counts(&recorder.register_gauge(&GAUGE, &METADATA))
    })
}

/// Whether anything becomes of what this gauge is given: a no-op gauge does not ask for the number.
fn counts(gauge: &Gauge) -> bool {
    struct Nothing<'a>(&'a Cell<bool>);

    impl IntoF64 for Nothing<'_> {
        fn into_f64(self) -> f64 {
            self.0.set(true);
            0.0
        }
    }

    let asked = Cell::new(false);
    gauge.increment(Nothing(&asked));
    asked.get()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use metrics::{Counter, Histogram, KeyName, Recorder, SharedString, Unit, with_local_recorder};

    use super::*;

    /// A recorder that keeps what it counts in a static, and so has no size.
    struct Unsized;

    static COUNTED: AtomicU64 = AtomicU64::new(0);

    struct Static;

    impl metrics::GaugeFn for Static {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, _: f64) {}
    }

    impl metrics::CounterFn for Static {
        fn increment(&self, value: u64) {
            COUNTED.fetch_add(value, Ordering::Relaxed);
        }
        fn absolute(&self, _: u64) {}
    }

    impl Recorder for Unsized {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Arc::new(Static))
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::new(Static))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_recorder_without_fields_is_one_and_the_no_op_is_none() {
        assert_eq!(size_of::<Unsized>(), 0);
        let handles = Handles::new();
        let look_up = || metrics::counter!("counted");
        assert!(handles.get(look_up).is_none());
        with_local_recorder(&metrics::NoopRecorder, || {
            assert!(handles.get(look_up).is_none());
        });
        with_local_recorder(&Unsized, || handles.get(look_up).unwrap().increment(2));
        // Kept, wherever it is used from then on.
        handles.get(look_up).unwrap().increment(1);
        assert_eq!(COUNTED.load(Ordering::Relaxed), 3);
    }
}
