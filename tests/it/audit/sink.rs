//! The sinks of the access log: what a tracing event says and what a line of JSON says are the same, and no line
//! is lost.
#![cfg(feature = "json-log")]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::captured;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use captured::Captured;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::access_log::{AccessEvent, AccessLogLayer, JsonLines, Sink, TracingSink};
use portcullis::{ClientAddr, Refusal, record::Record};
use serde_json::{Map, Value};
use tower::{Layer, ServiceExt, service_fn};
use tracing::Dispatch;

/// What was written, by a writer that is moved away.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // In pieces, as a pipe takes them.
        let piece = &bytes[..bytes.len().min(1_000)];
        self.0.lock().unwrap().extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// How many lines have come to their end.
    fn ended(&self) -> usize {
        let written = self.0.lock().unwrap();
        String::from_utf8_lossy(&written).matches('\n').count()
    }

    fn lines(&self) -> Vec<Map<String, Value>> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

/// Asks for `path` through the access log, whose answer is read to its end.
async fn ask(layer: &AccessLogLayer, path: &str) {
    let service = layer.layer(service_fn(
        |request: Request<portcullis::Body<Full<Bytes>>>| async move {
            let record = Record::of(request.extensions()).unwrap();
            record.refused(Refusal::PolicyDenied);
            record.explained("a \"rule\" of\ntwo lines");
            record.throttled(Duration::from_millis(1_500));
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("blob"))))
        },
    ));
    let mut request = Request::get(path)
        .header("host", "registry.example")
        .header("user-agent", "containerd/2.1 Grüße \\ \u{202e}")
        .body(Full::default())
        .unwrap();
    let client = ClientAddr::new("[2001:db8::1]:4711".parse().unwrap());
    request.extensions_mut().insert(client);
    let response = service.oneshot(request).await.unwrap();
    response.into_body().collect().await.unwrap();
}

/// Writes each event as both do.
struct Both(JsonLines);

impl Sink for Both {
    fn write(&self, event: &AccessEvent<'_>) {
        TracingSink.write(event);
        self.0.write(event);
    }
}

#[tokio::test]
async fn a_line_has_the_fields_and_values_of_the_tracing_event() {
    let written = Written::default();
    let json = JsonLines::new(written.clone()).unwrap();
    let captured = Captured::start();
    let layer = AccessLogLayer::new().with_sink(Both(json.clone()));
    let before = SystemTime::now();
    ask(&layer, "/v2/a/manifests/latest?ns=docker.io&token=S3CRET").await;
    json.flush();
    let mut lines = written.lines();
    let (mut line, mut event) = (lines.remove(0), captured.only());
    let time = line.remove("timestamp").unwrap();
    let time = parsed(time.as_str().unwrap());
    let microsecond = Duration::from_micros(1);
    assert!(time + microsecond >= before && time <= SystemTime::now());
    for name in ["timestamp", "level", "target"] {
        event.remove(name).unwrap();
    }
    assert_eq!(line, event);
    assert_eq!(line["client.address"], "2001:db8::1");
    assert_eq!(line["throttled"], 1.5);
    assert_eq!(line["url.query"], "ns=docker.io");
}

fn parsed(text: &str) -> SystemTime {
    let format = time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, &format).unwrap().into()
}

#[tokio::test]
async fn json_is_written_where_no_subscriber_listens() {
    let written = Written::default();
    let json = JsonLines::new(written.clone()).unwrap();
    let layer = AccessLogLayer::new().with_sink(json);
    for number in 0..3 {
        ask(&layer, &format!("/v2/a/manifests/{number}")).await;
    }
    drop(layer);
    let paths: Vec<_> = written
        .lines()
        .iter()
        .map(|line| line["url.path"].clone())
        .collect();
    assert_eq!(
        paths,
        [
            "/v2/a/manifests/0",
            "/v2/a/manifests/1",
            "/v2/a/manifests/2"
        ]
    );
}

#[test]
fn no_line_is_lost_when_many_threads_log_and_the_last_of_them_ends() {
    let written = Written::default();
    let layer = AccessLogLayer::new().with_sink(JsonLines::new(written.clone()).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let layer = layer.clone();
            thread::spawn(move || {
                for count in 0..500 {
                    run(ask(&layer, &format!("/v2/a/manifests/{number}.{count}")));
                }
            })
        })
        .collect();
    drop(layer);
    for thread in threads {
        thread.join().unwrap();
    }
    let lines = written.lines();
    let paths: BTreeSet<_> = lines
        .iter()
        .map(|line| line["url.path"].to_string())
        .collect();
    assert_eq!((lines.len(), paths.len()), (2_000, 2_000));
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work);
}

/// A writer that waits until it may go on.
struct Stuck(Receiver<()>, Written);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Once it was let go it is never stuck again.
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_cannot_keep_up_loses_no_line() {
    let (release, wait) = sync_channel::<()>(0);
    let written = Written::default();
    let json = JsonLines::new(Stuck(wait, written.clone())).unwrap();
    let layer = AccessLogLayer::new().with_sink(json);
    // More than the buffer holds, so that the last of them have to wait.
    let path = format!("/v2/{}/manifests/latest", "a".repeat(200));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let asking = thread::spawn(move || {
        for _ in 0..2_000 {
            run(ask(&layer, &path));
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    // These fit: no request waits for the writer, which is stuck with the first line.
    while asked.load(Ordering::Relaxed) < 500 {
        thread::yield_now();
    }
    assert!(written.lines().is_empty());
    drop(release);
    asking.join().unwrap();
    assert_eq!(written.lines().len(), 2_000);
}

/// A writer that counts how often it is handed lines.
struct Counted(Arc<AtomicUsize>, Written);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn lines_that_come_close_together_are_written_together() {
    let (writes, written) = (Arc::<AtomicUsize>::default(), Written::default());
    let json = JsonLines::new(Counted(Arc::clone(&writes), written.clone())).unwrap();
    let layer = AccessLogLayer::new().with_sink(json);
    let begun = Instant::now();
    for number in 0..2_000 {
        run(ask(&layer, &format!("/v2/a/manifests/{number}")));
    }
    let took = begun.elapsed();
    drop(layer);
    assert_eq!(written.lines().len(), 2_000);
    // None sooner than 10 ms after the one before, but where 256 KiB are there, and at the end.
    let bytes = written.0.lock().unwrap().len();
    let most = took.as_millis() / 10 + (bytes / (256 << 10)) as u128 + 2;
    let writes = writes.load(Ordering::Relaxed);
    assert!(writes as u128 <= most, "{writes} writes in {took:?}");
}

#[tokio::test]
async fn a_line_is_written_though_no_other_follows_and_nothing_flushes() {
    let written = Written::default();
    let layer = AccessLogLayer::new().with_sink(JsonLines::new(written.clone()).unwrap());
    for number in 1..4 {
        ask(&layer, &format!("/v2/a/manifests/{number}")).await;
        let end = Instant::now() + Duration::from_secs(60);
        while written.ended() < number {
            assert!(Instant::now() < end, "the line was not written");
            thread::yield_now();
        }
    }
}

#[test]
fn a_flush_waits_for_the_lines_before_it_and_not_for_those_that_follow() {
    let written = Written::default();
    let json = JsonLines::new(written.clone()).unwrap();
    let layer = AccessLogLayer::new().with_sink(json.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, others) = (Arc::clone(&stop), layer.clone());
    let asking = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            run(ask(&others, "/v2/a/manifests/other"));
        }
    });
    for number in 0..20 {
        let path = format!("/v2/a/manifests/{number}");
        run(ask(&layer, &path));
        json.flush();
        let bytes = written.0.lock().unwrap().clone();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains(&format!("{path}\"")), "{path} is not written");
    }
    stop.store(true, Ordering::Relaxed);
    asking.join().unwrap();
}

/// A writer that fails for these paths. What its thread logs goes to `log`.
struct FullDisk {
    fails_for: &'static [&'static str],
    written: Written,
    log: Option<Dispatch>,
}

impl Write for FullDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(log) = self.log.take() {
            // It ends with the thread.
            std::mem::forget(tracing::dispatcher::set_default(&log));
        }
        let text = String::from_utf8_lossy(bytes);
        if self.fails_for.iter().any(|path| text.contains(path)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_stops_no_request_and_the_log_goes_on_after_it() {
    let (written, log) = (Written::default(), captured::Sink::default());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(log.clone());
    let disk = FullDisk {
        fails_for: &["/manifests/0", "/manifests/1", "/manifests/3"],
        written: written.clone(),
        log: Some(Dispatch::new(subscriber.finish())),
    };
    let json = JsonLines::new(disk).unwrap();
    let layer = AccessLogLayer::new().with_sink(json.clone());
    for number in 0..6 {
        ask(&layer, &format!("/v2/a/manifests/{number}")).await;
        json.flush();
    }
    let paths: Vec<_> = written
        .lines()
        .iter()
        .map(|line| line["url.path"].clone())
        .collect();
    let expected = [2, 4, 5].map(|number| format!("/v2/a/manifests/{number}"));
    assert_eq!(paths, expected);
    let log = log.text();
    let told: Vec<_> = log
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["level"].clone(), line["lost"].clone())
        })
        .collect();
    let failed = (Value::from("ERROR"), Value::Null);
    let again = |lost: u64| (Value::from("WARN"), Value::from(lost));
    assert_eq!(told, [failed.clone(), again(2), failed, again(1)]);
}

/// A writer that panics.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("a writer's own fault")
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_writer_that_panics_holds_up_nothing() {
    let json = JsonLines::new(Broken).unwrap();
    let layer = AccessLogLayer::new().with_sink(json.clone());
    for _ in 0..2 {
        ask(&layer, "/v2/").await;
        json.flush();
    }
}

#[tokio::test]
async fn a_compact_line_says_who_asked_for_what_and_what_came_of_it() {
    let written = Written::default();
    let json = JsonLines::new(written.clone()).unwrap();
    let json = json.with_compact(true);
    let layer = AccessLogLayer::new().with_sink(Both(json.clone()));
    let captured = Captured::start();
    ask(&layer, "/v2/a/manifests/latest?ns=docker.io&token=S3CRET").await;
    json.flush();
    let (line, event) = (written.lines().remove(0), captured.only());
    let names: BTreeSet<_> = line.keys().map(String::as_str).collect();
    let expected = [
        "client.address",
        "http.request.body.size",
        "http.request.method",
        "http.response.body.size",
        "http.response.status_code",
        "http.server.request.duration",
        "outcome",
        "refusal.detail",
        "refusal.reason",
        "timestamp",
        "url.path",
        "url.query",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    for (name, value) in line.iter().filter(|(name, _)| *name != "timestamp") {
        assert_eq!(event.get(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_file_that_is_moved_away_or_removed_is_begun_anew_and_no_line_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let [log, old] = ["access.jsonl", "access.jsonl.1"].map(|name| folder.path().join(name));
    fs::write(&log, "{}\n").unwrap();
    let json = JsonLines::open(&log).unwrap();
    let layer = AccessLogLayer::new().with_sink(json.clone());
    let logged = |file: &std::path::Path| {
        let text = fs::read_to_string(file).unwrap();
        let lines = text.lines().map(serde_json::from_str::<Map<_, _>>);
        let found = lines.map(|line| line.unwrap().get("url.path").cloned());
        found.collect::<Vec<Option<Value>>>()
    };
    ask(&layer, "/v2/a/manifests/1").await;
    json.flush();
    fs::rename(&log, &old).unwrap();
    for number in [2, 3] {
        ask(&layer, &format!("/v2/a/manifests/{number}")).await;
        json.flush();
    }
    assert_eq!(logged(&old), [None, Some("/v2/a/manifests/1".into())]);
    let next = ["/v2/a/manifests/2", "/v2/a/manifests/3"].map(|path| Some(path.into()));
    assert_eq!(logged(&log), next);
    fs::remove_file(&log).unwrap();
    ask(&layer, "/v2/a/manifests/4").await;
    json.flush();
    assert_eq!(logged(&log), [Some("/v2/a/manifests/4".into())]);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let error = JsonLines::open(folder.path().join("absent/access.jsonl")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    JsonLines::open(folder.path()).unwrap_err();
    // It is not waited for.
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let error = JsonLines::open(&fifo).unwrap_err().to_string();
    assert!(error.contains("nothing reads"), "{error}");
}
