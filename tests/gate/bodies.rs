//! Bodies on their way, in both directions.

use http::HeaderName;

use crate::support::{
    Gate, MANIFEST, Registry, SHORT, UPLOAD, UPLOADS, assert_problem, in_front, request, request_of,
};

const CHUNKED: &str = "transfer-encoding: chunked\r\n";

#[tokio::test]
async fn the_first_chunk_of_an_upload_reaches_the_registry_before_the_second_is_sent() {
    let (registry, _gate, mut client) = in_front().await;
    client.send(request("PATCH", UPLOAD, CHUNKED)).await;
    client.send("5\r\nfirst\r\n").await;
    let mut wire = registry.accept().await;
    wire.head().await;
    assert_eq!(wire.until("first\r\n").await, "5\r\nfirst\r\n");
    client.send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(wire.until("0\r\n\r\n").await, "6\r\nsecond\r\n0\r\n\r\n");
    wire.send("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 202);
}

#[tokio::test]
async fn the_first_part_of_an_answer_reaches_the_client_before_the_second_is_sent() {
    let (registry, _gate, mut client) = in_front().await;
    let mut wire = registry.asked(&mut client).await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n")
        .await;
    let head = client.head().await;
    assert_eq!(head.get("content-length"), Some("11"));
    wire.send("first").await;
    assert_eq!(client.bytes(5).await, "first");
    wire.send("second").await;
    assert_eq!(client.bytes(6).await, "second");
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let (registry, _gate, mut client) = in_front().await;
    let more = format!("{CHUNKED}trailer: x-sum\r\nte: trailers\r\nconnection: te\r\n");
    client.send(request("PATCH", UPLOAD, &more)).await;
    client.send("4\r\nblob\r\n0\r\nx-sum: 12\r\n\r\n").await;
    let mut wire = registry.accept().await;
    let head = wire.head().await;
    assert_eq!(head.get("trailer"), Some("x-sum"));
    let body = wire.until("\r\n\r\n").await;
    assert_eq!(body, "4\r\nblob\r\n0\r\nx-sum: 12\r\n\r\n");

    wire.send(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-total\r\n\r\n\
        2\r\nok\r\n0\r\nx-total: 34\r\n\r\n",
    )
    .await;
    let head = client.head().await;
    assert_eq!(head.get("trailer"), Some("x-total"));
    let body = client.until("\r\n\r\n").await;
    assert_eq!(body, "2\r\nok\r\n0\r\nx-total: 34\r\n\r\n");
}

#[tokio::test]
async fn a_trailer_says_nothing_that_a_header_may_not() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| {
        options.principal_header = Some(HeaderName::from_static("x-registry-user"));
    })
    .await;
    let mut client = gate.connect().await;
    client.send(request("PATCH", UPLOAD, CHUNKED)).await;
    let taken = "x-registry-user: admin\r\nX_Registry_User: admin\r\nx-forwarded-for: 192.0.2.1\r\n\
        forwarded: for=192.0.2.1\r\nx-remote-user: admin\r\nauthorization: Basic eA==\r\ncookie: a=b\r\n\
        connection: close\r\nhost: other\r\nrange: bytes=0-1\r\nclient-cert: :AAAA:\r\n";
    let kept = "x-sum: 12\r\ncontent-digest: sha-256=:AAAA:\r\n";
    client
        .send(format!("4\r\nblob\r\n0\r\n{taken}{kept}\r\n"))
        .await;
    let mut wire = registry.accept().await;
    wire.head().await;
    let body = wire.until("\r\n\r\n").await;
    let (_, trailers) = body.split_once("\r\n0\r\n").unwrap();
    for line in trailers.lines().filter(|line| !line.is_empty()) {
        assert!(kept.contains(line), "{body}");
    }
}

#[tokio::test]
async fn a_trailer_of_an_answer_frames_nothing() {
    let (registry, _gate, mut client) = in_front().await;
    let more = "te: trailers\r\nconnection: te\r\n";
    client.send(request("GET", MANIFEST, more)).await;
    let mut wire = registry.accept().await;
    wire.head().await;
    wire.send(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-total\r\n\r\n2\r\nok\r\n0\r\nx-total: 34\r\n\
         connection: close\r\nkeep-alive: timeout=5\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\
         set-cookie: a=b\r\nhost: other\r\n\r\n",
    )
    .await;
    client.head().await;
    let body = client.until("\r\n\r\n").await;
    assert_eq!(body, "2\r\nok\r\n0\r\nx-total: 34\r\n\r\n");
}

#[tokio::test]
async fn an_upload_that_is_refused_gets_no_100_and_does_not_reach_the_registry() {
    let (registry, _gate, mut client) = in_front().await;
    let more = "content-length: 4\r\nexpect: 100-continue\r\n";
    client
        .send(request_of("no-such-token", "PATCH", UPLOAD, more))
        .await;
    // The first that comes is the refusal, not `100 Continue`.
    assert_eq!(client.answer().await.0.status(), 401);
    assert!(!registry.is_called().await);
}

#[tokio::test]
async fn an_upload_that_is_let_in_gets_its_100_once_the_registry_is_reached() {
    let (registry, _gate, mut client) = in_front().await;
    let more = "content-length: 4\r\nexpect: 100-continue\r\n";
    client.send(request("PATCH", UPLOAD, more)).await;
    let mut wire = registry.accept().await;
    let head = wire.head().await;
    assert_eq!(head.get("expect"), None);
    assert_eq!(client.head().await.line(), "HTTP/1.1 100 Continue");
    client.send("blob").await;
    assert_eq!(wire.bytes(4).await, "blob");
    wire.send("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 202);
}

#[tokio::test]
async fn an_upload_to_a_registry_that_is_down_gets_no_100() {
    let gate = Gate::start("unix:/nonexistent/registry.sock").await;
    let mut client = gate.connect().await;
    let more = "content-length: 4\r\nexpect: 100-continue\r\n";
    client.send(request("PUT", UPLOAD, more)).await;
    assert_problem(&client.answer().await, 502, "UNAVAILABLE");
}

/// A registry may refuse an upload while it still comes.
#[tokio::test]
async fn an_answer_before_the_end_of_an_upload_reaches_the_client() {
    let (registry, _gate, mut client) = in_front().await;
    client.send(request("PATCH", UPLOAD, CHUNKED)).await;
    client.send("5\r\nfirst\r\n").await;
    let mut wire = registry.accept().await;
    wire.head().await;
    wire.until("first\r\n").await;
    wire.send("HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        .await;
    let (head, body) = client.answer().await;
    assert_eq!((head.status(), body.as_str()), (413, "{}"));
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_the_registry_sends() {
    let (registry, _gate, mut client) = in_front().await;
    let mut wire = registry.asked(&mut client).await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\n")
        .await;
    client.head().await;
    drop(client);
    wire.send_without_end(&vec![0; 64 * 1024]).await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_upload() {
    let (registry, _gate, mut client) = in_front().await;
    client.send(request("PATCH", UPLOAD, CHUNKED)).await;
    client.send("5\r\nfirst\r\n").await;
    let mut wire = registry.accept().await;
    wire.head().await;
    wire.until("first\r\n").await;
    drop(client);
    // The last chunk would say that this was all.
    assert_eq!(wire.rest().await, "");
}

#[tokio::test]
async fn a_body_that_is_malformed_is_the_clients_fault() {
    let (registry, _gate, mut client) = in_front().await;
    client.send(request("PATCH", UPLOAD, CHUNKED)).await;
    client.send("5\r\nfirst\r\n").await;
    let mut wire = registry.accept().await;
    wire.head().await;
    wire.until("first\r\n").await;
    client.send("zz\r\n").await;
    assert_eq!(wire.rest().await, "");
    assert_eq!(client.head().await.status(), 400);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_ends_the_request() {
    let (registry, _gate, mut client) = in_front().await;
    let mut wire = registry.asked(&mut client).await;
    drop(client);
    assert_eq!(wire.rest().await, "");
}

#[tokio::test]
async fn an_empty_post_says_that_it_is_empty() {
    let (registry, _gate, mut client) = in_front().await;
    client
        .send(request("POST", UPLOADS, "content-length: 0\r\n"))
        .await;
    let mut wire = registry.accept().await;
    let head = wire.head().await;
    assert_eq!(head.get("content-length"), Some("0"));
    assert_eq!(head.get("transfer-encoding"), None);
}

#[tokio::test]
async fn what_a_slow_client_has_not_sent_yet_is_not_the_registrys_silence() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| options.head_timeout = SHORT).await;
    let mut client = gate.connect().await;
    let more = "content-length: 10\r\n";
    client.send(request("PATCH", UPLOAD, more)).await;
    let mut wire = registry.accept().await;
    wire.head().await;
    for part in ["first", "later"] {
        // The case itself: a client that takes longer than the registry may.
        tokio::time::sleep(SHORT * 3).await;
        client.send(part).await;
        assert_eq!(wire.bytes(5).await, part);
    }
    wire.send("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 202);
}
