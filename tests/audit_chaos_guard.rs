//! One event a request through every layer of the gate, over TLS, while a certificate is revoked.
#![cfg(all(feature = "config", feature = "metrics", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod captured;
mod chaos;
mod pki;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use captured::Sink;
use chaos::{Ask, Chance, assert_counted, http1, http2, one_event_each, outcomes, quiet_panics};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::Guard;
use portcullis::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceBuilder, service_fn};

const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";
const SMALL_TOKEN: &str = "dL8xR3ySu0MnA5wC9oQzE4tIg7Kh";
const WRONG_TOKEN: &str = "eM9yS4zTv1NoB6xD0pRaF5uJh8Li";

const GATE: &str = r#"
[reload]
poll_interval = "20ms"
settle = "5ms"

[tls]
certificate = "tls.crt"
key = "tls.key"
client_ca = ["ca.crt"]

[crl]
files = ["crl.pem"]

[auth]
require = "token-and-certificate"
# So that what a client gets does not hang on how many failed before it.
throttle = { enabled = false }
[[auth.token]]
id = "ci"
file = "ci.token"
[[auth.token]]
id = "small"
file = "small.token"

[[policy.rules]]
name = "ci"
who = ["token:ci"]
actions = ["pull", "push"]
repositories = ["a", "held"]

[[policy.rules]]
name = "small"
who = ["token:small"]
actions = ["pull", "push"]
repositories = ["a"]
rate_class = "small"

[[limits.limit]]
name = "line"
key = "total"
rate = "20MB"
burst = "256KiB"

[[limits.limit]]
name = "transfers"
key = "principal"
max_streams = 24

[[limits.limit]]
name = "little"
key = "principal"
class = "small"
quota = { bytes = 150_000, window = "day", exhausted = "cut" }
"#;

struct Scene {
    folder: tempfile::TempDir,
    ca: pki::Ca,
    good: Arc<rustls::ClientConfig>,
    revoked_later: Arc<rustls::ClientConfig>,
}

const SERIAL: u64 = 7;

impl Scene {
    fn new() -> Self {
        let ca = pki::Ca::new("nodes");
        let server = ca.server(&["localhost"]);
        let good = ca.client("good");
        let revoked_later = ca.client_with("revoked later", |params| {
            params.serial_number = Some(SERIAL.into());
        });
        let client = |leaf| Arc::new(pki::client(&ca, Some((leaf, &[]))));
        let scene = Self {
            good: client(&good),
            revoked_later: client(&revoked_later),
            folder: tempfile::tempdir().unwrap(),
            ca,
        };
        for (name, text) in [
            ("gate.toml", GATE),
            ("ca.crt", &scene.ca.pem),
            ("tls.crt", &server.pem),
            ("tls.key", &server.key_pem),
            ("ci.token", TOKEN),
            ("small.token", SMALL_TOKEN),
        ] {
            fs::write(scene.path().join(name), text).unwrap();
        }
        scene.publish(1, &[]);
        scene
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn publish(&self, number: u64, revoked: &[u64]) {
        let list = self.ca.crl(number, revoked).pem().unwrap();
        fs::write(self.path().join("next"), list).unwrap();
        fs::rename(self.path().join("next"), self.path().join("crl.pem")).unwrap();
    }

    fn guard(&self) -> Guard {
        Guard::from_config(&Config::load(self.path().join("gate.toml")).unwrap()).unwrap()
    }

    /// One connection in three is by the certificate that will be revoked.
    fn client(&self, seed: u64) -> Arc<rustls::ClientConfig> {
        let revoked = seed.is_multiple_of(3);
        Arc::clone(if revoked {
            &self.revoked_later
        } else {
            &self.good
        })
    }

    /// So many connections of each protocol, from this seed on.
    fn storm(&self, clients: &mut JoinSet<()>, address: SocketAddr, seeds: std::ops::Range<u64>) {
        for seed in seeds {
            let config = self.client(seed);
            clients.spawn(async move {
                if let Ok(stream) = pki::connect(&config, address, "localhost").await {
                    http1(stream, Chance(seed), somebody).await;
                }
            });
            let mut config = (*self.client(seed)).clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            clients.spawn(async move {
                let config = Arc::new(config);
                if let Ok(stream) = pki::connect(&config, address, "localhost").await {
                    http2(stream, Chance(seed << 32), somebody).await;
                }
            });
        }
    }
}

fn somebody(chance: &mut Chance) -> Ask {
    let tokens = [TOKEN, TOKEN, TOKEN, SMALL_TOKEN, WRONG_TOKEN].map(Some);
    Ask {
        repository: chance.of(&["a", "a", "a", "a", "secret"]),
        token: chance.of(&[None, tokens[0], tokens[1], tokens[2], tokens[3], tokens[4]]),
    }
}

async fn listen(guard: &Guard, arrived: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = guard.acceptor().unwrap().clone();
    let inner = ServiceBuilder::new()
        .timeout(Duration::from_millis(150))
        .service_fn(chaos::serve::<_>);
    let guarded = guard.layer(inner);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, arrived) = (acceptor.clone(), Arc::clone(&arrived));
            let mut guarded = guarded.clone();
            tokio::spawn(async move {
                let Ok(accepted) = acceptor.accept(stream).await else {
                    return;
                };
                let connection = accepted.connection;
                let counted = service_fn(move |mut request: Request<Incoming>| {
                    arrived.fetch_add(1, Ordering::SeqCst);
                    request.extensions_mut().insert(connection.clone());
                    guarded.call(request)
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                let service = TowerToHyperService::new(counted);
                let serving = builder.serve_connection(TokioIo::new(accepted.stream), service);
                // hyper does not see that a client is gone behind requests that it sent ahead.
                let _ = timeout(Duration::from_secs(3), serving).await;
            });
        }
    });
    address
}

/// A transfer that goes on until the gate ends it. Begun once this returns.
async fn hold(scene: &Scene, address: SocketAddr) -> impl Future<Output = ()> + use<> {
    let config = &scene.revoked_later;
    let mut stream = pki::connect(config, address, "localhost").await.unwrap();
    let head = format!(
        "GET /v2/held/manifests/body-hangs HTTP/1.1\r\nhost: a\r\n\
         authorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 4096];
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
    async move { while let Ok(1..) = stream.read(&mut buffer).await {} }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_through_the_whole_gate_is_one_event() {
    let sink = Sink::everywhere();
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    quiet_panics();

    let scene = Scene::new();
    let guard = scene.guard();
    let arrived = Arc::new(AtomicU64::new(0));
    let address = listen(&guard, Arc::clone(&arrived)).await;
    let mut held = JoinSet::new();
    for _ in 0..3 {
        held.spawn(hold(&scene, address).await);
    }
    let mut clients = JoinSet::new();
    scene.storm(&mut clients, address, 1..100);
    sleep(Duration::from_millis(150)).await;
    scene.publish(2, &[SERIAL]);
    // While the storm goes on.
    let cut = timeout(Duration::from_secs(5), held.join_all()).await;
    cut.expect("a transfer outlived its certificate");
    scene.storm(&mut clients, address, 100..160);
    clients.join_all().await;

    let events = one_event_each(&sink, &arrived).await;
    for event in &events {
        let outcome = event["outcome"].as_str().unwrap();
        let path = event["url.path"].as_str().unwrap();
        let mut parts = path.rsplit('/');
        let deed = parts.next().unwrap();
        let expected: &[&str] = match deed {
            "body-hangs" if path.contains("/held/") => &["cut_revoked"],
            "answers" | "refuses" => &[],
            "reads" | "fails" | "hangs" | "body-hangs" => &["service_error"],
            "panics" | "body-panics" => &["panicked"],
            "body-fails" => &["body_error"],
            "body-cut" => &["cut_revoked"],
            other => panic!("{other}"),
        };
        let held = path.contains("/held/");
        // Whatever it is about, the gate may refuse or end it, and the client may go.
        let always = [
            "finished",
            "client_gone",
            "cut_revoked",
            "cut_quota_exceeded",
        ];
        assert!(
            expected.contains(&outcome) || !held && always.contains(&outcome),
            "{path} ended as {outcome}"
        );
        if outcome == "finished" && ["fails", "panics", "hangs", "body-fails"].contains(&deed) {
            assert!(event.contains_key("refusal.reason"), "{event:?}");
        }
    }
    assert_everything_happened(&events);
    assert_counted(&recorder.render(), &events);
}

fn assert_everything_happened(events: &[serde_json::Map<String, serde_json::Value>]) {
    let outcomes = outcomes(events);
    let reasons: std::collections::BTreeSet<_> = events
        .iter()
        .filter_map(|event| event.get("refusal.reason")?.as_str())
        .collect();
    for reason in [
        "credentials_missing",
        "credentials_unknown",
        "policy_denied",
        "quota_exceeded",
    ] {
        assert!(reasons.contains(reason), "no {reason} in {reasons:?}");
    }
    for outcome in [
        "finished",
        "client_gone",
        "service_error",
        "body_error",
        "panicked",
        "cut_revoked",
        "cut_quota_exceeded",
    ] {
        assert!(
            outcomes.contains_key(outcome),
            "no {outcome} in {outcomes:?}"
        );
    }
}
