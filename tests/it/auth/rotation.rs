//! One sees who still uses a secret that is about to end.
#![cfg(all(feature = "auth", feature = "metrics"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::auth::{
    Authentication, Credential, CredentialSource, Credentials, Secret, TokenAuthLayer,
};
use portcullis::reload::WatchOptions;
use tower::{Layer, ServiceExt, service_fn};

const DAY: u64 = 24 * 3600;

/// What is written to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn warnings(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains("expires soon"));
        lines.map(str::to_owned).collect()
    }
}

/// A credential with an old token, good for the first 30 days, and a new one, asked at some times for
/// some tokens. Gives the log's warnings and how often the metric has counted.
fn used(warn_before: Option<u64>, uses: &[(&str, u64)]) -> (Vec<String>, u64) {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let secret = |token: &str| Secret::of_token(token.as_bytes());
    let ci = Credential::new("ci")
        .with_comment("the build farm")
        .with_secret(secret("former").expires(at(30 * DAY)))
        .with_secret(secret("latter"));
    let (source, options) = ([CredentialSource::credential(ci)], WatchOptions::default());
    let credentials = match warn_before {
        None => Credentials::watch(source, options),
        Some(days) => Credentials::watch_and_warn(source, options, Duration::from_secs(days * DAY)),
    };
    let credentials = credentials.unwrap();
    let clock = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&clock);
    let authentication = Authentication::token(credentials)
        .with_clock(move || at(now.load(Ordering::Relaxed)))
        .with_throttle(None);
    let layer = TokenAuthLayer::new(authentication);
    let recorder = PrometheusBuilder::new().build_recorder();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    metrics::with_local_recorder(&recorder, || {
        for (token, time) in uses {
            clock.store(*time, Ordering::Relaxed);
            let service = layer.layer(service_fn(|_: Request<Full<Bytes>>| async {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }));
            let mut request = Request::new(Full::<Bytes>::default());
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert(AUTHORIZATION, value);
            let _ = service.oneshot(request).now_or_never().unwrap();
        }
    });
    let scrape = recorder.handle().render();
    let line = "portcullis_expiring_credential_uses_total{credential=\"ci\"} ";
    let counted = scrape.lines().find_map(|found| found.strip_prefix(line));
    let counted = counted.map_or(0, |count| count.parse().unwrap());
    assert!(
        !scrape.contains("former") && !scrape.contains("latter"),
        "{scrape}"
    );
    (log.warnings(), counted)
}

#[test]
fn use_of_a_secret_that_expires_soon_is_logged_once_an_hour_and_counted_each_time() {
    let soon = 20 * DAY;
    let (warnings, counted) = used(
        None,
        &[
            ("former", soon),
            ("former", soon + 1),
            ("former", soon + 3599),
            ("former", soon + 3600),
        ],
    );
    assert_eq!(counted, 4);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    for part in [
        "WARN",
        "credential=\"ci\"",
        "comment=\"the build farm\"",
        "hours_left=240",
    ] {
        assert!(warnings[0].contains(part), "{part}: {warnings:?}");
    }
    assert!(!warnings[0].contains("former"), "{warnings:?}");
}

#[test]
fn a_secret_that_is_good_for_long_or_is_over_warns_of_nothing() {
    let uses = [
        ("former", 15 * DAY),
        ("latter", 20 * DAY),
        ("latter", 29 * DAY),
        ("former", 30 * DAY),
        ("wrong", 29 * DAY),
    ];
    assert_eq!(used(None, &uses), (Vec::new(), 0));
}

#[test]
fn the_time_before_which_is_warned_is_the_operators() {
    let uses = [("former", 20 * DAY)];
    assert_eq!(used(Some(9), &uses).1, 0);
    assert_eq!(used(Some(10), &uses).1, 1);
}
