//! Warnings before certificates and CRLs end.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::captured;
use crate::pki;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pki::{Ahead, Ca, Files};
use portcullis::crl::Revocation;
use portcullis::reload::WatchOptions;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn ends_are_told_at_the_load_and_as_time_goes_by_without_any_handshake() {
    let sink = captured::Sink::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true);
    subscriber.with_writer(sink.clone()).init();
    let told = |words: &str| {
        let begun = Instant::now();
        while !sink.text().contains(words) {
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {words}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };

    let now = time::OffsetDateTime::now_utc();
    let half_an_hour = time::Duration::minutes(30);
    let ca = Ca::with("Nodes 2026", |params| {
        params.not_before = now - DAY * 1_000;
        params.not_after = now + DAY * 20 + half_an_hour;
    });
    let files = Files::new();
    let server = ca.leaf("localhost", |params| {
        params.not_before = now - half_an_hour;
        params.not_after = now + DAY * 400;
    });
    let list = ca.crl_with(1, &[], |list| {
        list.this_update = now - DAY * 60;
        list.next_update = now + DAY * 9 + half_an_hour;
    });
    let lists = files.put("crl.pem", list.pem().unwrap());
    let clock = Arc::new(Ahead::default());
    let _material = files
        .requiring(&server, &ca)
        .with_clock(clock.clone())
        .with_expiry_warnings([DAY * 30, DAY * 7])
        .with_crl_warnings([DAY])
        .with_crls(Revocation::builder(), [lists])
        .watch(WatchOptions::default().with_poll_interval(Duration::from_millis(20)))
        .unwrap();
    told("a certificate ends in 20 d");
    assert!(!sink.text().contains("a CRL is due"), "{}", sink.text());
    for (days, words) in [
        (9, "a CRL is due in 30 min, and no newer one has come"),
        (10, "a CRL is past its nextUpdate"),
        (14, "a certificate ends in 6 d"),
        (21, "a certificate has expired"),
    ] {
        clock.by(DAY * days);
        told(words);
    }
    // Each once, however often it was looked at, and the server's not at all.
    std::thread::sleep(Duration::from_millis(200));
    let text = sink.text();
    for words in [
        "a CRL is due",
        "past its nextUpdate",
        "has expired",
        "ends in 6 d",
    ] {
        assert_eq!(text.matches(words).count(), 1, "{words}: {text}");
    }
    assert!(!text.contains("localhost"), "{text}");
}
