//! What is sent a second time where the connection to the registry ends, and what never is.

use tokio::net::TcpStream;

use crate::support::{Gate, MANIFEST, Registry, UPLOADS, Wire, assert_problem, in_front, request};

/// A registry with a connection in the gate's pool, after the client's.
async fn pooled() -> (Registry, Gate, Wire<TcpStream>, Wire<TcpStream>) {
    let (registry, gate, mut client) = in_front().await;
    let mut wire = registry.asked(&mut client).await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    client.answer().await;
    (registry, gate, client, wire)
}

#[tokio::test]
async fn a_get_is_repeated_once_where_the_pooled_connection_ends_under_it() {
    for method in ["GET", "HEAD"] {
        let (registry, _gate, mut client, mut wire) = pooled().await;
        client.send(request(method, MANIFEST, "")).await;
        let asked = wire.head().await;
        drop(wire);
        let mut wire = registry.accept().await;
        assert_eq!(wire.head().await.line(), asked.line());
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: \"2\"\r\n\r\n")
            .await;
        let head = client.head().await;
        assert_eq!((head.status(), head.get("etag")), (200, Some("\"2\"")));
    }
}

#[tokio::test]
async fn a_get_whose_repetition_ends_too_is_a_502() {
    let (registry, _gate, mut client, mut wire) = pooled().await;
    client.send(request("GET", MANIFEST, "")).await;
    wire.head().await;
    drop(wire);
    let mut wire = registry.accept().await;
    wire.head().await;
    drop(wire);
    assert_problem(&client.answer().await, 502, "UNAVAILABLE");
    assert!(!registry.is_called().await, "asked a third time");
}

#[tokio::test]
async fn what_changes_something_is_never_repeated() {
    for (method, target, body) in [
        ("POST", UPLOADS, "blob"),
        ("POST", UPLOADS, ""),
        ("PUT", MANIFEST, "{}"),
        ("DELETE", MANIFEST, ""),
    ] {
        let (registry, _gate, mut client, mut wire) = pooled().await;
        let more = format!("content-length: {}\r\n", body.len());
        client.send(request(method, target, &more)).await;
        client.send(body).await;
        let head = wire.head().await;
        assert!(head.line().starts_with(method), "{head:?}");
        wire.bytes(body.len()).await;
        drop(wire);
        assert_problem(&client.answer().await, 502, "UNAVAILABLE");
        assert!(!registry.is_called().await, "{method} was repeated");
    }
}

/// A body was sent, if only in part, so that it cannot be sent again.
#[tokio::test]
async fn a_get_with_a_body_is_not_repeated() {
    let (registry, _gate, mut client, mut wire) = pooled().await;
    client
        .send(request("GET", MANIFEST, "content-length: 4\r\n"))
        .await;
    client.send("body").await;
    wire.head().await;
    wire.bytes(4).await;
    drop(wire);
    assert_problem(&client.answer().await, 502, "UNAVAILABLE");
    assert!(!registry.is_called().await);
}

#[tokio::test]
async fn a_get_whose_answer_has_begun_is_not_repeated() {
    let (registry, _gate, mut client, mut wire) = pooled().await;
    client.send(request("GET", MANIFEST, "")).await;
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        .await;
    client.head().await;
    client.until("half").await;
    drop(wire);
    assert_eq!(client.rest().await, "");
    assert!(!registry.is_called().await);
}
