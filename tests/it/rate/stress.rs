//! The books of limits under threads that come, go and stall at any time, in real time.
#![cfg(feature = "rate")]
#![allow(clippy::unwrap_used)]

use crate::rate_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits, Share};
use rate_support::{Endless, request, serving_body};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

const RATE: u64 = 20_000_000;
const BURST: u64 = 1_000_000;

/// Numbers that look random, the same each time.
fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    *state >> 33
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_sent_is_what_was_counted_and_no_more_than_the_rate_gives() {
    // So slow that its credit says to the byte what was charged, but for one byte a second.
    const CREDIT: u64 = 1 << 40;
    for shared in [false, true] {
        let mut total = Limit::rate("total", Key::Total, RATE).with_burst(BURST);
        if shared {
            total = total.with_share(Share::by(Key::Principal));
        }
        let source = Limit::rate("source", Key::Source, RATE / 2);
        let charged = Limit::rate("charged", Key::Principal, 1).with_burst(CREDIT);
        let limits = Limits::new([total, source, charged]).unwrap();
        let layer = ByteRateLayer::new(limits.with_headers(true));
        let sent = Arc::new(AtomicU64::new(0));
        let begin = Instant::now();
        let end = begin + Duration::from_secs(2);
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..32_u64 {
            let (layer, sent) = (layer.clone(), Arc::clone(&sent));
            tasks.spawn(async move {
                let mut state = task;
                let name = format!("caller-{}", task % 5);
                let source = format!("10.0.0.{}:1", task % 7);
                while Instant::now() < end {
                    let request = request(Some(&name), &source);
                    let answer = serving_body(&layer, || Endless).oneshot(request).await;
                    let mut body = answer.unwrap().into_body();
                    for _ in 0..next(&mut state) % 20 {
                        // Cancelled in the middle of a wait, now and then.
                        let patience = Duration::from_micros(next(&mut state) % 20_000);
                        let Ok(frame) = timeout(patience, body.frame()).await else {
                            break;
                        };
                        let data = frame.unwrap().unwrap().into_data().unwrap();
                        sent.fetch_add(data.len() as u64, Ordering::Relaxed);
                        if next(&mut state).is_multiple_of(8) {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let took = begin.elapsed().as_micros();
        let sent = sent.load(Ordering::Relaxed);
        let most = u128::from(RATE) * took / 1_000_000 + u128::from(BURST);
        assert!(u128::from(sent) <= most, "{sent} of {most}");
        // Cancelled quanta are not lost to others.
        assert!(u128::from(sent) > most * 6 / 10, "{sent} of {most}");
        let mut charged = 0;
        for caller in 0..5 {
            let request = request(Some(&format!("caller-{caller}")), "10.0.0.99:1");
            let answer = serving_body(&layer, || Endless).oneshot(request).await;
            let told = answer.unwrap().headers()["ratelimit"]
                .to_str()
                .unwrap()
                .to_owned();
            let (_, credit) = told.split_once("\"charged\";r=").unwrap();
            let credit: u64 = credit.split(';').next().unwrap().parse().unwrap();
            charged += CREDIT - credit;
        }
        let grown = 5 * (begin.elapsed().as_secs() + 1);
        assert!(
            charged <= sent && charged + grown >= sent,
            "{charged} of {sent}"
        );
    }
}
