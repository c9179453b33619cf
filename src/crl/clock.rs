//! The time to the second, at the cost of reading a number.
//!
//! Each request of a connection asks whether its certificate's verdict still holds, and reading the
//! system's clock would be nearly all that this costs. So one thread of the process reads it, from the
//! first question on, and the others read what it wrote last.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustls::pki_types::UnixTime;

/// How far the time may lag behind the system's.
const STEP: Duration = Duration::from_millis(250);

/// Seconds after 1970, 0 while nobody writes it.
static SECONDS: AtomicU64 = AtomicU64::new(0);

/// Seconds after 1970, a quarter of a second ago at most.
#[inline]
pub(super) fn seconds() -> u64 {
    match SECONDS.load(Ordering::Relaxed) {
        0 => begin(),
        seconds => seconds,
    }
}

#[cold]
fn begin() -> u64 {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let ticking = thread::Builder::new().name("portcullis-clock".to_owned());
        let ticking = ticking.spawn(|| {
            loop {
                SECONDS.store(UnixTime::now().as_secs(), Ordering::Relaxed);
                thread::sleep(STEP);
            }
        });
        if let Err(error) = ticking {
            tracing::warn!(%error, "no thread for the clock: the time is read for each request");
        }
    });
    UnixTime::now().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_lags_little() {
        let began = seconds();
        while seconds() < began + 2 {
            // A busy machine may be late, but never by minutes.
            assert!(UnixTime::now().as_secs() < began + 60);
            thread::sleep(Duration::from_millis(20));
        }
        assert!(seconds() <= UnixTime::now().as_secs());
    }
}
