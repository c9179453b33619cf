//! Registries that are down, silent, cut or stalled.

use std::time::Instant;

use crate::proxy::{TlsFiles, Upstream};
use crate::support::{
    BY_TOKEN, Gate, MANIFEST, Registry, SHORT, UPLOAD, assert_problem, in_front, request, within,
};

#[tokio::test]
async fn a_registry_that_is_down_is_a_502_in_the_form_that_clients_read() {
    // Nothing listens on the first port of a loopback address.
    for down in ["http://127.0.0.1:1", "unix:/nonexistent/registry.sock"] {
        let gate = Gate::start(down).await;
        let mut client = gate.connect().await;
        client.send(request("GET", MANIFEST, "")).await;
        assert_problem(&client.answer().await, 502, "UNAVAILABLE");
    }
}

#[tokio::test]
async fn a_problem_has_no_body_for_a_head() {
    let gate = Gate::start("http://127.0.0.1:1").await;
    let mut client = gate.connect().await;
    client.send(request("HEAD", MANIFEST, "")).await;
    let head = client.head().await;
    assert_eq!(head.status(), 502);
    client.send(request("GET", MANIFEST, "")).await;
    assert_problem(&client.answer().await, 502, "UNAVAILABLE");
}

#[tokio::test]
async fn a_registry_that_says_nothing_is_a_504_in_the_time_that_is_set() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| options.head_timeout = SHORT).await;
    for (method, more) in [("GET", ""), ("PATCH", "content-length: 4\r\n")] {
        let mut client = gate.connect().await;
        let began = Instant::now();
        client.send(request(method, UPLOAD, more)).await;
        if method == "PATCH" {
            client.send("blob").await;
        }
        let mut wire = registry.accept().await;
        wire.head().await;
        assert_problem(&client.answer().await, 504, "UNAVAILABLE");
        assert!(began.elapsed() >= SHORT);
        // What it says later is for no one.
        wire.rest().await;
    }
    assert!(!registry.is_called().await, "asked again after a silence");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_a_504() {
    let registry = Registry::start().await;
    let ca = crate::pki::Ca::new("registries");
    let files = crate::pki::Files::new();
    let files = TlsFiles {
        ca: Some(files.put("ca.crt", &ca.pem)),
        http2: false,
        ..TlsFiles::default()
    };
    let url = format!("https://{}", registry.authority());
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let upstream = Upstream::parse(&url, || files.watch()).unwrap();
    let gate = Gate::serve(BY_TOKEN, &[], upstream, |options| {
        options.connect_timeout = SHORT;
    })
    .await;
    let mut client = gate.connect().await;
    client.send(request("GET", MANIFEST, "")).await;
    assert_problem(&client.answer().await, 504, "UNAVAILABLE");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_cut_for_the_client() {
    for (framing, part) in [
        ("content-length: 100", "part"),
        ("transfer-encoding: chunked", "4\r\npart\r\n"),
    ] {
        let (registry, _gate, mut client) = in_front().await;
        let mut wire = registry.asked(&mut client).await;
        wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}"))
            .await;
        assert_eq!(client.head().await.status(), 200);
        assert_eq!(
            client.until("part").await.split("\r\n").last(),
            Some("part")
        );
        drop(wire);
        // Neither the rest nor the last chunk, which would say that this was all.
        assert_eq!(client.rest().await.trim(), "");
    }
}

#[tokio::test]
async fn an_answer_of_which_nothing_more_comes_ends() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| options.stall_timeout = SHORT).await;
    let mut client = gate.connect().await;
    let mut wire = registry.asked(&mut client).await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart")
        .await;
    client.head().await;
    assert_eq!(client.rest().await, "part");
    assert_eq!(wire.rest().await, "");
}

/// The clock of a stall runs while the registry is waited for, not while the client is.
#[tokio::test]
async fn a_client_that_reads_slowly_is_no_stall_of_the_registry() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| options.stall_timeout = SHORT).await;
    let mut client = gate.connect().await;
    let mut wire = registry.asked(&mut client).await;
    // More than all the buffers on the way hold.
    let length = 32 * 1024 * 1024;
    wire.send(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
    ))
    .await;
    let sends = tokio::spawn(async move { wire.send(vec![b'x'; length]).await });
    client.head().await;
    // The case itself: a client that takes nothing for longer than the registry may give nothing.
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(client.bytes(length).await.len(), length);
    within(sends).await.unwrap();
}

/// What was cut off leaves the rest of an answer on its connection, which no other may get.
#[tokio::test]
async fn a_connection_with_the_rest_of_an_answer_is_not_used_again() {
    let (registry, gate, mut client) = in_front().await;
    let mut first = registry.asked(&mut client).await;
    first
        .send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        .await;
    client.head().await;
    client.until("half").await;
    drop(client);

    let mut client = gate.connect().await;
    let mut second = registry.asked(&mut client).await;
    second
        .send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown")
        .await;
    assert_eq!(client.answer().await.1, "own");
}

#[tokio::test]
async fn the_probe_of_a_registry_says_whether_it_answers() {
    use crate::proxy::{Health, Proxy};
    use portcullis::Body;
    use portcullis::admin::Readiness;
    use portcullis::serve::Incoming;

    let registry = Registry::start().await;
    let upstream = Upstream::parse(&registry.url(), || panic!("no TLS here")).unwrap();
    let options = crate::support::options();
    let proxy: Proxy<Body<Incoming>> = Proxy::new(upstream, options);
    let health = Health::new();
    assert!(matches!(health.readiness(), Readiness::NotReady(_)));
    for (answer, ready) in [
        ("200 OK", true),
        ("401 Unauthorized", true),
        ("503 Service Unavailable", false),
    ] {
        let probe = proxy.probe(crate::support::PATIENCE);
        let answers = async {
            let mut wire = registry.accept().await;
            assert_eq!(wire.head().await.line(), "GET /v2/ HTTP/1.1");
            wire.send(format!(
                "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            ))
            .await;
        };
        let (found, ()) = tokio::join!(probe, answers);
        health.note(proxy.upstream(), found);
        let is_ready = matches!(health.readiness(), Readiness::Ready);
        assert_eq!(is_ready, ready, "{answer}");
    }
    let silent = proxy.probe(SHORT).await.unwrap_err();
    assert!(silent.contains("no answer"), "{silent}");
}
