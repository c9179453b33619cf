//! What of a head passes, and what does not.

use http::HeaderName;

use crate::proxy::ClientCertForm;
use crate::support::{Gate, MANIFEST, Registry, UPLOAD, in_front, request};

#[tokio::test]
async fn hop_by_hop_headers_of_the_client_stay_on_its_side() {
    let (registry, _gate, mut client) = in_front().await;
    let more = "connection: keep-alive, x-hop, X-Other\r\nx-hop: 1\r\nx-other: 2\r\nkeep-alive: timeout=5\r\n\
        proxy-authorization: Basic eA==\r\nproxy-connection: keep-alive\r\nte: gzip, trailers\r\n\
        http2-settings: AAMAAABkAAQAAP__\r\nx-kept: yes\r\naccept: application/json\r\n";
    client.send(request("GET", MANIFEST, more)).await;
    let head = registry.accept().await.head().await;
    for name in [
        "connection",
        "x-hop",
        "x-other",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "http2-settings",
    ] {
        assert_eq!(head.get(name), None, "{head:?}");
    }
    assert_eq!(head.get("te"), Some("trailers"));
    assert_eq!(head.get("x-kept"), Some("yes"));
    assert_eq!(head.get("accept"), Some("application/json"));
}

/// A registry behind a gateway to CGI takes a sign for the other, and a head may have bytes in it that no text has.
#[tokio::test]
async fn what_concerns_one_connection_stays_on_its_side_however_it_is_written() {
    let (registry, _gate, mut client) = in_front().await;
    let more =
        "transfer_encoding: chunked\r\nContent_Length: 5\r\nKeep_Alive: 1\r\nx_kept: yes\r\n";
    client.send(request("GET", MANIFEST, more)).await;
    let mut wire = registry.accept().await;
    let head = wire.head().await;
    for name in ["transfer_encoding", "content_length", "keep_alive"] {
        assert_eq!(head.get(name), None, "{head:?}");
    }
    assert_eq!(head.get("x_kept"), Some("yes"));
    wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 204);

    let mut bytes = request("GET", MANIFEST, "").into_bytes();
    let end = bytes.len() - 2;
    bytes.splice(end..end, *b"connection: x-\xff, x-hop\r\nx-hop: 1\r\n");
    client.send(bytes).await;
    let head = wire.head().await;
    assert_eq!(
        (head.get("x-hop"), head.get("connection")),
        (None, None),
        "{head:?}"
    );
}

#[tokio::test]
async fn hop_by_hop_headers_of_the_registry_stay_on_its_side() {
    let (registry, _gate, mut client) = in_front().await;
    let mut wire = registry.asked(&mut client).await;
    wire.send(
        "HTTP/1.1 200 OK\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
        proxy-authenticate: Basic realm=x\r\nupgrade: h2c\r\ndocker-content-digest: sha256:ab\r\n\
        content-length: 2\r\n\r\n{}",
    )
    .await;
    let (head, body) = client.answer().await;
    assert_eq!((head.status(), body.as_str()), (200, "{}"));
    for name in [
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "upgrade",
    ] {
        assert_eq!(head.get(name), None, "{head:?}");
    }
    assert_eq!(head.get("docker-content-digest"), Some("sha256:ab"));

    // The registry's connection ends, the client's does not.
    let mut wire = registry.asked(&mut client).await;
    wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 204);
}

#[tokio::test]
async fn claims_of_the_client_are_removed_and_what_is_true_is_said() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| {
        options.principal_header = Some(HeaderName::from_static("x-registry-user"));
        options.client_cert = Some(ClientCertForm::Xfcc);
    })
    .await;
    let mut client = gate.connect().await;
    let mut more = String::new();
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X_Forwarded_For",
        "X-Real-IP",
        "X-Original-URL",
        "X-Forwarded-Client-Cert",
        "Client-Cert",
        "Client_Cert",
        "Client-Cert-Chain",
        "X-Remote-User",
        "X-Registry-User",
        "X_Registry_User",
        "Forwarded",
    ] {
        more.push_str(name);
        more.push_str(": for=forged\r\n");
    }
    client.send(request("GET", MANIFEST, &more)).await;
    let head = registry.accept().await.head().await;
    assert!(!format!("{head:?}").contains("forged"), "{head:?}");
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(head.get("x-forwarded-host"), Some("registry.example"));
    assert_eq!(
        head.get("forwarded"),
        Some("for=127.0.0.1;proto=http;host=\"registry.example\"")
    );
    assert_eq!(head.get("x-registry-user"), Some("token:ci"));
}

/// `Connection` names what the next hop is not to get, which must not be what the gate says.
#[tokio::test]
async fn a_client_cannot_take_away_what_the_gate_says() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| {
        options.principal_header = Some(HeaderName::from_static("x-registry-user"));
    })
    .await;
    let mut client = gate.connect().await;
    let more = "connection: x-forwarded-for, forwarded, x-registry-user, host, content-length\r\n\
        content-length: 4\r\n";
    client.send(request("PATCH", UPLOAD, more)).await;
    client.send("blob").await;
    let mut wire = registry.accept().await;
    let head = wire.head().await;
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert!(head.get("forwarded").is_some());
    assert_eq!(head.get("x-registry-user"), Some("token:ci"));
    assert_eq!(head.get("host"), Some("registry.example"));
    assert_eq!(head.get("content-length"), Some("4"));
    assert_eq!(wire.bytes(4).await, "blob");
}

#[tokio::test]
async fn the_registry_sees_the_host_that_was_asked_for_or_its_own() {
    for keep in [true, false] {
        let registry = Registry::start().await;
        let gate = Gate::with(&registry.url(), |options| options.keep_host = keep).await;
        let mut client = gate.connect().await;
        client.send(request("GET", MANIFEST, "")).await;
        let head = registry.accept().await.head().await;
        let own = registry.authority();
        let seen = if keep { "registry.example" } else { &own };
        assert_eq!(head.get("host"), Some(seen));
        assert_eq!(head.get("x-forwarded-host"), Some("registry.example"));
    }
}

#[tokio::test]
async fn the_registry_gets_the_canonical_target() {
    let registry = Registry::start().await;
    let gate = Gate::start(&registry.url()).await;
    for (sent, seen) in [
        ("/v2/", "/v2/"),
        ("/v2", "/v2"),
        (
            "/v2/lib/a/manifests/1?ns=docker.io",
            "/v2/lib/a/manifests/1?ns=docker.io",
        ),
        (
            "http://registry.example/v2/lib/a/tags/list?n=2&last=1",
            "/v2/lib/a/tags/list?n=2&last=1",
        ),
        (
            "/v2/lib/a/blobs/uploads/0b8f?_state=a-b_c%3D%3D",
            "/v2/lib/a/blobs/uploads/0b8f?_state=a-b_c%3D%3D",
        ),
        ("/readyz", "/readyz"),
    ] {
        let mut client = gate.connect().await;
        client.send(request("GET", sent, "")).await;
        let mut wire = registry.accept().await;
        let head = wire.head().await;
        assert_eq!(head.line(), format!("GET {seen} HTTP/1.1"));
    }
    for twofold in [
        "/v2/lib/../secret/manifests/1",
        "/v2/lib%2Fa/manifests/1",
        "/v2//lib/a/manifests/1",
    ] {
        let mut client = gate.connect().await;
        client.send(request("GET", twofold, "")).await;
        assert_eq!(client.answer().await.0.status(), 400, "{twofold}");
    }
    assert!(!registry.is_called().await);
}

#[tokio::test]
async fn ranges_and_conditions_and_their_answers_pass_untouched() {
    let (registry, _gate, mut client) = in_front().await;

    let more = "range: bytes=1-3\r\nif-range: \"x\"\r\n";
    client.send(request("GET", MANIFEST, more)).await;
    let mut wire = registry.accept().await;
    let head = wire.head().await;
    assert_eq!(head.get("range"), Some("bytes=1-3"));
    assert_eq!(head.get("if-range"), Some("\"x\""));
    let answer = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 1-3/9\r\netag: \"x\"\r\ncontent-length: 3\r\n\r\nabc";
    wire.send(answer).await;
    let (head, body) = client.answer().await;
    assert_eq!((head.status(), body.as_str()), (206, "abc"));
    assert_eq!(head.get("content-range"), Some("bytes 1-3/9"));
    assert_eq!(head.get("etag"), Some("\"x\""));

    let more = "if-none-match: \"x\", \"y\"\r\n";
    client.send(request("GET", MANIFEST, more)).await;
    let head = wire.head().await;
    assert_eq!(head.get("if-none-match"), Some("\"x\", \"y\""));
    wire.send("HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n")
        .await;
    let head = client.head().await;
    assert_eq!((head.status(), head.get("etag")), (304, Some("\"x\"")));
}

#[tokio::test]
async fn the_answer_to_a_head_keeps_its_length_and_has_no_body() {
    let (registry, _gate, mut client) = in_front().await;
    client.send(request("HEAD", MANIFEST, "")).await;
    let mut wire = registry.accept().await;
    let head = wire.head().await;
    assert_eq!(head.line(), format!("HEAD {MANIFEST} HTTP/1.1"));
    // Named by `Connection` or not: without it the message is another one.
    let answer = "HTTP/1.1 200 OK\r\nconnection: content-length\r\ncontent-length: 1234\r\ncontent-type: application/vnd.oci.image.index.v1+json\r\n\r\n";
    wire.send(answer).await;
    let head = client.head().await;
    assert_eq!(head.get("content-length"), Some("1234"));

    // What follows is the next answer.
    client.send(request("GET", MANIFEST, "")).await;
    wire.head().await;
    wire.send("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}")
        .await;
    let (head, body) = client.answer().await;
    assert_eq!((head.status(), body.as_str()), (404, "{}"));
}
