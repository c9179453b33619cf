//! Every metric of the catalogue is emitted, with all its labels, and no other is.
#![cfg(all(
    feature = "config",
    feature = "digest-binding",
    feature = "metrics",
    feature = "serve",
    feature = "aws-lc-rs"
))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::config::Config;
use portcullis::serve::{self, Incoming};
use portcullis::source::ForwardedLayer;
use portcullis::telemetry::{METRICS, describe_metrics};
use portcullis::tls::{Acceptor, Reason};
use portcullis::{Body, Connection, Guard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceBuilder, ServiceExt, service_fn};

mod http_server;
mod pki;
#[cfg(feature = "redis")]
#[path = "rate_support/redis.rs"]
#[allow(dead_code, reason = "a part of it is enough")]
mod redis_server;

use http_server::{Answer, Server};

const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

const GATE: &str = r#"
[reload]
poll_interval = "20ms"
settle = "5ms"

[tls]
certificate = "tls.crt"
key = "tls.key"
client_ca = ["ca.crt"]
client_auth = "request"

[crl]
files = ["crl.pem"]
unknown = "allow"
short_lived = "1h"

[deny]
files = ["denied"]

[policy]
file = "policy.toml"
shadow = "stricter.toml"

[policy.digest_binding]
file = "digests"

[[limits.limit]]
name = "line"
key = "total"
rate = "1MB"
burst = "16KiB"
#fleet

[[limits.limit]]
name = "used-up"
key = "total"
quota = { bytes = 10_000, window = "month" }
#fleet

[auth]
require = "token"
[[auth.token]]
id = "ci"
file = "ci.token"
"#;

const POLICY: &str = r#"
[[rules]]
name = "pull"
who = ["token:ci"]
actions = ["pull"]
repositories = ["**"]

[[rules]]
name = "push"
who = ["token:ci"]
actions = ["push"]
repositories = ["a"]

[[rules]]
name = "not from here"
effect = "deny"
who = ["token:ci"]
actions = ["pull"]
repositories = ["secret/**"]
"#;

#[tokio::test]
async fn a_run_of_everything_emits_the_whole_catalogue_and_nothing_else() {
    let handle = PrometheusBuilder::new().install_recorder().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = pki::Ca::new("clients");
    let without_list = pki::Ca::new("others");
    let lists = Server::start();
    // Older than the file's, which so stays active.
    let fetched = ca.crl_with(1, &[], |list| list.this_update -= time::Duration::HOUR);
    lists.answer(Answer::list(fetched.der(), "1"));
    #[cfg(feature = "redis")]
    let redis = redis_server::Redis::start();
    #[cfg(feature = "redis")]
    let fleet = Some(redis.url());
    #[cfg(not(feature = "redis"))]
    let fleet = None;
    let guard = gate(folder.path(), &ca, &without_list, &lists, fleet);
    requests(&guard).await;
    guard.save().unwrap();
    handshakes(&guard, &ca, &without_list).await;
    reloads(folder.path(), &ca, &handle).await;
    // What only a system in trouble counts begins at zero.
    describe_metrics();
    served().await;

    let scrape = handle.render();
    assert_values(&scrape, &lists.url("/crl"));
    let seen = series(&scrape);
    let all: BTreeMap<String, BTreeSet<String>> = METRICS
        .iter()
        .map(|metric| {
            let labels = metric.labels.iter().map(|label| (*label).to_owned());
            (metric.name.to_owned(), labels.collect())
        })
        .collect();
    for (name, labels) in &seen {
        assert_eq!(Some(labels), all.get(name), "{name}, as emitted");
    }
    for (name, labels) in &all {
        if !cfg!(feature = "crl-fetch") && name.contains("crl_fetch")
            || !cfg!(feature = "redis") && name.contains("_fleet_")
        {
            continue;
        }
        assert_eq!(Some(labels), seen.get(name), "{name}, as documented");
    }
}

fn gate(
    folder: &Path,
    ca: &pki::Ca,
    without_list: &pki::Ca,
    lists: &Server,
    fleet: Option<String>,
) -> Guard {
    let server = ca.server(&["localhost"]);
    let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    let tomorrow = humantime::format_rfc3339_seconds(tomorrow);
    let mut gate = format!("{GATE}expires = {tomorrow}\n");
    if let Some(url) = fleet {
        let fleet = format!("[limits.fleet]\nurl = \"{url}\"\n");
        gate = gate.replace("#fleet", "fleet = true") + &fleet;
    }
    if cfg!(feature = "crl-fetch") {
        let fetch = "[crl.fetch]\ndirectory = \"kept\"\nurls = [\"";
        gate = format!("{gate}{fetch}{}\"]\n", lists.url("/crl"));
    }
    let crl = ca.crl(2, &[]).pem().unwrap();
    let stricter = POLICY.replace("**", "other");
    for (name, text) in [
        ("gate.toml", &*gate),
        ("ca.crt", &(ca.pem.clone() + &without_list.pem)),
        ("tls.crt", &server.pem),
        ("tls.key", &server.key_pem),
        ("crl.pem", &crl),
        ("ci.token", TOKEN),
        ("denied", "# none\n"),
        ("policy.toml", POLICY),
        ("stricter.toml", &stricter),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    Guard::from_config(&Config::load(folder.join("gate.toml")).unwrap()).unwrap()
}

/// One with a mount that is declined, one whose answer is not taken, one that is slowed and that the shadow would refuse, one with a
/// wrong token, one when the quota is used up, and a header about a client in all of them.
async fn requests(guard: &Guard) {
    let service = ServiceBuilder::new()
        .layer(ForwardedLayer::x_forwarded_for(vec![]))
        .layer(guard)
        .service_fn(|_| async {
            let body = Bytes::from(vec![0; 64 * 1024]);
            let digest = format!("sha256:{}", "a".repeat(64));
            let response = Response::builder().header("docker-content-digest", digest);
            Ok::<_, Infallible>(response.body(Full::new(body)).unwrap())
        });
    let mount = format!(
        "/v2/a/blobs/uploads/?mount=sha256:{}&from=secret/b",
        "a".repeat(64)
    );
    for (method, target, token, taken) in [
        ("POST", &*mount, TOKEN, false),
        ("GET", "/v2/a/manifests/1", TOKEN, false),
        ("GET", "/v2/a/manifests/1", TOKEN, true),
        ("GET", "/v2/a/manifests/1", "wrong", true),
        ("GET", "/v2/a/manifests/1", TOKEN, true),
    ] {
        let mut request = Request::builder()
            .header("host", "registry.example")
            .method(method)
            .uri(target)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header("x-forwarded-for", "192.0.2.7")
            .body(Full::<Bytes>::default())
            .unwrap();
        let connection = Connection::builder("192.0.2.1:1".parse().unwrap()).build();
        request.extensions_mut().insert(connection);
        let response = service.clone().oneshot(request).await.unwrap();
        if taken {
            response.into_body().collect().await.unwrap();
        }
    }
}

/// Two of clients that no CRL answers for, each of which then asks for something: one that is let pass, and one
/// that is short-lived.
async fn handshakes(guard: &Guard, ca: &pki::Ca, without_list: &pki::Ca) {
    handshake(guard, ca, &without_list.client("node")).await;
    let hour = without_list.client_with("node", |params| {
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::MINUTE;
        params.not_after = params.not_before + time::Duration::HOUR;
    });
    handshake(guard, ca, &hour).await;
}

async fn handshake(guard: &Guard, ca: &pki::Ca, leaf: &pki::Leaf) {
    let acceptor: &Acceptor = guard.acceptor().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let config = Arc::new(pki::client(ca, Some((leaf, &[]))));
    let accept = async {
        let (stream, _) = tcp.accept().await.unwrap();
        acceptor.accept(stream).await.unwrap().connection
    };
    let (connected, connection) = tokio::join!(pki::connect(&config, address, "localhost"), accept);
    connected.unwrap();
    let service = ServiceBuilder::new()
        .layer(guard)
        .service_fn(|_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
    let mut request = Request::get("/v2/")
        .header("host", "registry.example")
        .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Full::<Bytes>::default())
        .unwrap();
    request.extensions_mut().insert(connection);
    service.oneshot(request).await.unwrap();
}

/// Connections of a server: one whose body does not come, one whose request panics.
async fn served() {
    let service = service_fn(async |request: Request<Body<Incoming>>| {
        assert_ne!(request.uri().path(), "/panic");
        let body = request.into_body().collect().await?;
        Ok::<_, portcullis::BodyError>(Response::new(Full::new(body.to_bytes())))
    });
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let server = serve::Server::unguarded()
        .with_body_silence(Duration::from_millis(50))
        .with_max_connections(1);
    let serving = tokio::spawn(server.serve(tcp, service));
    for (head, status) in [
        ("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 9", "408"),
        ("GET /panic HTTP/1.1\r\nhost: a\r\nconnection: close", "500"),
    ] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!("{head}\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert!(answer.ends_with(status.as_bytes()), "{answer:?}");
    }
    serving.abort();
}

/// An older CRL in the place of the active one.
async fn reloads(folder: &Path, ca: &pki::Ca, handle: &PrometheusHandle) {
    fs::write(folder.join("crl.pem"), ca.crl(1, &[]).pem().unwrap()).unwrap();
    for _ in 0..500 {
        let metrics = handle.render();
        let all = ["portcullis_crl_refused_total{", "portcullis_reloads_total{"];
        if all.iter().all(|name| metrics.contains(name)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the older CRL was never refused:\n{}", handle.render());
}

/// Each value of a label is one of those that are documented, or what this run's operator named.
fn assert_values(scrape: &str, list: &str) {
    let closed = closed_sets();
    let mut seen = BTreeSet::new();
    for (name, labels) in lines(scrape) {
        for (label, value) in labels {
            seen.insert((name.to_owned(), label.to_owned()));
            let named: &[&str] = match label {
                "limit" => &["line", "used-up"],
                "credential" => &["ci"],
                "header" => &["x-forwarded-for"],
                "issuer" => &["CN=clients"],
                "scope" => &["complete"],
                "subject" => &["CN=clients", "CN=others", "CN=localhost"],
                "url" => &[list],
                _ => {
                    let set = closed.get(&(name.to_owned(), label.to_owned()));
                    let set = set.unwrap_or_else(|| panic!("no set of {label} of {name}"));
                    assert!(set.contains(value), "{label}={value:?} of {name}");
                    continue;
                }
            };
            assert!(named.contains(&value), "{label}={value:?} of {name}");
        }
    }
    for (name, label) in closed.keys() {
        let metric = METRICS.iter().find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is no metric"));
        assert!(metric.labels.contains(&&**label), "{name} has no {label}");
    }
    assert!(seen.len() > 30, "{seen:?}");
}

/// What `docs/metrics.md` says of each metric's labels.
fn closed_sets() -> BTreeMap<(String, String), BTreeSet<&'static str>> {
    let head = "| label | of | values |\n| --- | --- | --- |\n";
    let (_, table) = include_str!("../docs/metrics.md").split_once(head).unwrap();
    let mut sets = BTreeMap::new();
    for row in table.lines().take_while(|row| !row.is_empty()) {
        let cells: Vec<Vec<&str>> = row
            .trim_matches('|')
            .split('|')
            .map(|cell| {
                cell.split(',')
                    .map(|one| one.trim().trim_matches('`'))
                    .collect()
            })
            .collect();
        let [label, metrics, values] = &cells[..] else {
            panic!("{row}");
        };
        for metric in metrics {
            let of = (metric.to_string(), label[0].to_owned());
            let set = values.iter().copied().collect::<BTreeSet<_>>();
            assert_eq!(set.len(), values.len(), "{row}");
            assert!(sets.insert(of, set).is_none(), "{row}");
        }
    }
    sets
}

#[test]
fn the_documented_reasons_are_all_that_there_are() {
    let closed = closed_sets();
    let of = |metric: &str, label: &str| &closed[&(metric.to_owned(), label.to_owned())];
    let reasons = Reason::ALL.iter().map(|reason| reason.label());
    let handshakes: BTreeSet<_> = reasons.chain(["ok"]).collect();
    assert_eq!(&handshakes, of("portcullis_handshakes_total", "outcome"));
    let refusals = of("portcullis_refusals_total", "reason");
    for refusal in of("portcullis_auth_failures_total", "reason") {
        assert!(refusals.contains(refusal), "{refusal}");
    }
    for refusal in of("portcullis_limit_refusals_total", "reason") {
        assert!(refusals.contains(refusal), "{refusal}");
    }
}

/// The lines of a scrape: a metric and its labels with their values.
fn lines(scrape: &str) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
    let lines = scrape.lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let name = ["_sum", "_count", "_bucket"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        // No value of this run has a comma or a quote in it.
        let labels = labels.trim_end_matches('}').split(',');
        let labels = labels.filter_map(|label| label.split_once('='));
        let labels = labels.map(|(label, value)| (label, value.trim_matches('"')));
        // How the exporter shows a histogram without buckets.
        (
            name,
            labels.filter(|(label, _)| *label != "quantile").collect(),
        )
    })
}

/// The metrics of a scrape with the names of their labels.
fn series(scrape: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, labels) in lines(scrape) {
        let labels = labels.into_iter().map(|(label, _)| label.to_owned());
        seen.entry(name.to_owned()).or_default().extend(labels);
    }
    seen
}
