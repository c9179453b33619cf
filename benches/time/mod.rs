//! How long a call takes.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Nanoseconds a call: the best of many batches, which is the one that was disturbed least.
pub(crate) fn time<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut calls = 1u32;
    let batch = Duration::from_millis(5);
    loop {
        let start = Instant::now();
        (0..calls).for_each(|_| drop(black_box(call())));
        if start.elapsed() >= batch {
            break;
        }
        calls *= 2;
    }
    let best = (0..30).map(|_| {
        let start = Instant::now();
        (0..calls).for_each(|_| drop(black_box(call())));
        start.elapsed()
    });
    let best = best.min().unwrap_or(batch);
    best.as_secs_f64() * 1e9 / f64::from(calls)
}
