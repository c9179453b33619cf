use std::time::{Duration, Instant};

/// Waits until a condition holds. It is given long, because only a failure waits for all of it.
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(
            begun.elapsed() < Duration::from_secs(2 * 60),
            "never: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
