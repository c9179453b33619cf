//! What is logged of handshakes, and how much of it.
#![cfg(all(feature = "tls", feature = "metrics", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod captured;
mod pki;

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use captured::Captured;
use http::{Request, Response};
use http_body_util::Full;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use pki::{Ca, Files, Leaf, accepted, client, refused};
use portcullis::reload::WatchOptions;
use portcullis::tls::{Acceptor, ClientCas, ForwardedLayer, Reason};
use portcullis::{ClientAddr, Watched};
use rcgen::{DnType, SanType};
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

fn acceptor(files: &Files, ca: &Ca) -> Acceptor {
    let builder = files.requiring(&ca.server(&["localhost"]), ca);
    Acceptor::new(Watched::fixed(builder.load().unwrap()))
}

/// Of the whole process: files are watched by a thread of their own.
fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
}

/// The events whose message begins so.
fn told(captured: &Captured, message: &str) -> Vec<Map<String, Value>> {
    let text = captured.text();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|event: &Map<String, Value>| {
            let words = event.get("message").and_then(Value::as_str);
            words.is_some_and(|words| words.starts_with(message))
        })
        .collect()
}

#[tokio::test]
async fn a_failed_handshake_is_one_event_with_all_that_an_operator_needs() {
    let (files, ca) = (Files::new(), Ca::new("Nodes 2026"));
    let acceptor = acceptor(&files, &ca);
    let stranger = Ca::new("Strangers").client("node-7");
    let captured = Captured::from(Level::DEBUG);
    let (error, _) = refused(&acceptor, client(&ca, Some((&stranger, &[])))).await;
    let events = told(&captured, "TLS handshake");
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    let field = |name: &str| event[name].as_str().unwrap_or_default();
    assert_eq!(field("level"), "WARN");
    assert_eq!(field("peer"), error.peer().to_string());
    assert_eq!(field("server_name"), "localhost");
    assert_eq!(field("reason"), "unknown_issuer");
    assert_eq!(field("alert"), "unknown_ca");
    assert_eq!(field("presented"), error.presented().unwrap());
    assert_eq!(field("path"), "`CN=node-7` <- `CN=Strangers` (not found)");
    assert_eq!(event["untold"], 0);
    assert_eq!(field("message"), format!("TLS handshake failed: {error}"));
}

#[tokio::test]
async fn a_handshake_that_succeeds_is_told_at_debug() {
    let (files, ca) = (Files::new(), Ca::new("Nodes 2026"));
    let acceptor = acceptor(&files, &ca);
    let node = ca.client("node-7");
    for (level, events) in [(Level::DEBUG, 1), (Level::INFO, 0)] {
        let captured = Captured::from(level);
        accepted(&acceptor, client(&ca, Some((&node, &[])))).await;
        let told = told(&captured, "TLS handshake");
        assert_eq!(told.len(), events, "{level}");
        for event in told {
            assert_eq!(event["level"], "DEBUG");
            assert_eq!(event["subject"], "CN=node-7");
        }
    }
}

/// A certificate with as long names as any has that is read at all.
fn verbose(ca: &Ca, at: usize) -> Leaf {
    ca.client_with("node-7", |params| {
        let name = &mut params.distinguished_name;
        for arc in 0..12 {
            let kind = DnType::CustomDnType(vec![1, 2, 3, at as u64, arc]);
            name.push(kind, "ü".repeat(120));
        }
        let label = "x".repeat(60);
        params.subject_alt_names = (0..20)
            .map(|host| {
                let name = format!("{host}.{label}.{label}.{label}.example");
                SanType::DnsName(name.try_into().unwrap())
            })
            .collect();
    })
}

#[tokio::test]
async fn an_event_has_four_kibibytes_whatever_the_client_sends() {
    let (files, ca) = (Files::new(), Ca::new("Nodes 2026"));
    let acceptor = acceptor(&files, &ca);
    let strangers = Ca::new(&"Strangers".repeat(6));
    let leaf = verbose(&strangers, 0);
    let above: Vec<_> = (1..6)
        .map(|at| {
            let mut above = Ca::new("above");
            above.der = verbose(&strangers, at).der;
            above
        })
        .collect();
    let above: Vec<_> = above.iter().collect();
    let captured = Captured::from(Level::WARN);
    let (error, _) = refused(&acceptor, client(&ca, Some((&leaf, &above)))).await;
    assert!(error.presented().unwrap().len() > 8_000, "{error}");
    let text = captured.text();
    let event = text.lines().find(|line| line.contains("TLS handshake"));
    let length = event.unwrap().len();
    assert!((2_048..5_000).contains(&length), "{length}: {text}");
}

/// Something that is no TLS from this host.
async fn plain(acceptor: &Acceptor, host: u8) -> Reason {
    let (mut near, far) = tokio::io::duplex(64);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let peer = ([192, 0, 2, host], 4711).into();
    acceptor.accept_from(far, peer).await.unwrap_err().reason()
}

#[tokio::test(start_paused = true)]
async fn a_flood_hides_no_other_reason_and_is_summed_up_when_it_is_over() {
    let (files, ca) = (Files::new(), Ca::new("Nodes 2026"));
    let acceptor = acceptor(&files, &ca);
    let captured = Captured::from(Level::WARN);
    for at in 0..50 {
        assert_eq!(plain(&acceptor, at).await, Reason::NotTls);
    }
    let (near, far) = tokio::io::duplex(64);
    drop(near);
    let peer = "192.0.2.99:1".parse().unwrap();
    let error = acceptor.accept_from(far, peer).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Closed);
    let failures = told(&captured, "TLS handshake failed");
    let of = |reason: &str| {
        failures
            .iter()
            .filter(|one| one["reason"] == reason)
            .count()
    };
    assert_eq!((of("not_tls"), of("closed")), (20, 1));
    // Nothing else fails, and it is logged all the same.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let summary = told(&captured, "30 more TLS handshakes failed");
    assert_eq!(summary.len(), 1, "{}", captured.text());
    assert_eq!(summary[0]["reason"], "not_tls");
    assert_eq!(summary[0]["untold"], 30);
}

#[tokio::test]
async fn a_forwarded_certificate_of_a_stranger_is_removed_counted_and_told_of_once() {
    let handle = metrics();
    let captured = Captured::from(Level::WARN);
    let own = http::HeaderName::from_static("x-client-id");
    let layer = ForwardedLayer::without_proxies().with_removed([own]);
    let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
        let left = request.headers().len().to_string();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(left))))
    }));
    for host in 0..3 {
        let mut request = Request::new(Full::<Bytes>::default());
        let headers = request.headers_mut();
        for name in ["client-cert", "x-forwarded-client-cert", "x-client-id"] {
            headers.insert(name, "x".parse().unwrap());
        }
        headers.insert("accept", "y".parse().unwrap());
        let peer = ClientAddr::new(([192, 0, 2, host], 1).into());
        request.extensions_mut().insert(peer);
        let answer = service.clone().oneshot(request).await.unwrap();
        let left = http_body_util::BodyExt::collect(answer.into_body()).await;
        assert_eq!(left.unwrap().to_bytes(), "1");
    }
    let told = told(&captured, "a peer that is no listed proxy");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["peer"], "192.0.2.0:1");
    let text = handle.render();
    for name in ["client-cert", "x-forwarded-client-cert", "x-client-id"] {
        let line = format!("portcullis_forwarded_removed_total{{header=\"{name}\"}} 3");
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[tokio::test]
async fn a_directory_of_client_cas_is_read_and_the_gauge_of_a_removed_one_is_no_number() {
    let handle = metrics();
    let (files, one, two) = (Files::new(), Ca::new("One"), Ca::new("Two"));
    // Without a subject the gauge has its name.
    let server = one.leaf("x", |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    });
    std::fs::create_dir(files.path("clients")).unwrap();
    files.put("clients/one.crt", &one.pem);
    files.put("clients/two.pem", &two.pem);
    files.put("clients/README", "no certificate");
    let (first, second) = (one.client("node-1"), two.client("node-2"));
    let builder = files.server(&server);
    let builder = builder.require_client_certificates(ClientCas::new([files.path("clients")]));
    let watch = WatchOptions::default().with_poll_interval(Duration::from_millis(20));
    let material = builder.watch(watch).unwrap();
    let acceptor = Acceptor::new(material.clone());
    for leaf in [&first, &second] {
        let (accepted, _theirs) = accepted(&acceptor, client(&one, Some((leaf, &[])))).await;
        assert!(accepted.connection.identity().is_some());
    }
    let line = |role: &str, subject: &str| {
        let name = "portcullis_certificate_not_after_timestamp_seconds";
        let begin = format!("{name}{{role=\"{role}\",subject=\"{subject}\"}} ");
        let text = handle.render();
        let value = text.lines().find_map(|line| line.strip_prefix(&begin));
        value
            .unwrap_or_else(|| panic!("{begin}: {text}"))
            .to_owned()
    };
    assert_ne!(line("server", "localhost"), "NaN");
    assert_ne!(line("client_ca", "CN=Two"), "NaN");

    let mut changes = material.changes();
    std::fs::remove_file(files.path("clients/two.pem")).unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(60), changes.changed());
    seen.await.unwrap().unwrap();
    assert_eq!(line("client_ca", "CN=Two"), "NaN");
    assert_ne!(line("client_ca", "CN=One"), "NaN");
    let (error, _) = refused(&acceptor, client(&one, Some((&second, &[])))).await;
    assert_eq!(error.reason(), Reason::UnknownIssuer);
}
