//! A client that keeps the server waiting is ended, whatever it is awaited for.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tower::service_fn;

use super::support::{
    GET, SHORT, Tls, ask, connect, ended, get, http2, open, start, whoami, within,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

#[tokio::test]
async fn a_client_that_says_nothing_after_its_handshake_is_ended() {
    let tls = Tls::new();
    let server = tls.open().with_first_byte_timeout(SHORT);
    let running = start(server, service_fn(whoami)).await;
    for protocol in ["http/1.1", "h2"] {
        let mut silent = tls.connect(running.address, protocol).await.unwrap();
        assert_eq!(ended(&mut silent).await, "", "{protocol}");
    }
}

#[tokio::test]
async fn a_client_without_tls_that_says_nothing_is_ended() {
    let running = start(open().with_first_byte_timeout(SHORT), service_fn(whoami)).await;
    assert_eq!(ended(&mut connect(running.address).await).await, "");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let tls = Tls::new();
    let server = tls.open().with_handshake_timeout(SHORT);
    let running = start(server, service_fn(whoami)).await;
    ended(&mut connect(running.address).await).await;
}

#[tokio::test]
async fn a_head_that_does_not_end_is_ended_however_it_trickles() {
    let running = start(open().with_head_timeout(SHORT), service_fn(whoami)).await;
    let trickles = connect(running.address).await;
    let (mut reads, mut writes) = trickles.into_split();
    let trickle = tokio::spawn(async move {
        let _ = writes.write_all(b"GET / HTTP/1.1\r\nx: ").await;
        while writes.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 20).await;
        }
    });
    assert_eq!(ended(&mut reads).await, "");
    within(trickle).await.unwrap();
}

#[tokio::test]
async fn the_second_head_of_a_connection_has_its_deadline_too() {
    let server = open().with_head_timeout(SHORT);
    let running = start(server, service_fn(whoami)).await;
    for pause in [Duration::ZERO, 2 * SHORT] {
        let mut client = connect(running.address).await;
        let first = ask(&mut client, GET).await;
        assert!(first.ends_with("127.0.0.1"), "{first}");
        // The case itself: a client that is idle for longer than a head may take.
        tokio::time::sleep(pause).await;
        client.write_all(b"GET / HT").await.unwrap();
        assert_eq!(ended(&mut client).await, "");
    }
}

#[tokio::test]
async fn a_client_of_http_2_that_never_asks_for_anything_is_ended() {
    let running = start(open().with_head_timeout(SHORT), service_fn(whoami)).await;
    let mut client = connect(running.address).await;
    let opening = [PREFACE, SETTINGS].concat();
    client.write_all(&opening).await.unwrap();
    ended(&mut client).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_431() {
    let running = start(open().with_max_head_size(16 * 1024), service_fn(whoami)).await;
    let mut client = connect(running.address).await;
    let large = format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(20_000));
    let answer = ask(&mut client, large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");

    let (mut sender, _) = http2(connect(running.address).await).await;
    let mut request = get();
    for index in 0..20 {
        let name = format!("x-{index}").parse::<http::HeaderName>().unwrap();
        let value = "x".repeat(1000).parse().unwrap();
        request.headers_mut().insert(name, value);
    }
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 431);
    // The connection itself is none the worse.
    let response = within(sender.send_request(get())).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_connection_without_a_request_in_flight_is_ended() {
    let server = open().with_idle_timeout(SHORT);
    let running = start(server, service_fn(whoami)).await;
    let mut client = connect(running.address).await;
    ask(&mut client, GET).await;
    assert_eq!(ended(&mut client).await, "");

    let (mut sender, connection) = http2(connect(running.address).await).await;
    within(sender.send_request(get())).await.unwrap();
    // A GOAWAY came before, so it ends without an error.
    within(connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_deadline_without_end_is_one_that_every_clock_has() {
    let longest = Duration::MAX;
    let server = open()
        .with_first_byte_timeout(longest)
        .with_head_timeout(longest)
        .with_idle_timeout(longest)
        .with_keep_alive_pings(longest, longest)
        .with_stall_timeout(longest)
        .with_body_silence(longest)
        .with_body_pace(1, longest)
        .with_drain_deadline(longest);
    let running = start(server, service_fn(whoami)).await;
    let mut client = connect(running.address).await;
    for _ in 0..20 {
        let answer = ask(&mut client, GET).await;
        assert!(answer.ends_with("127.0.0.1"), "{answer}");
    }
    drop(client);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_takes_longer_than_every_deadline_is_answered() {
    let server = open()
        .with_first_byte_timeout(SHORT)
        .with_head_timeout(SHORT)
        .with_idle_timeout(SHORT);
    let slow = service_fn(async |request| {
        tokio::time::sleep(4 * SHORT).await;
        whoami(request).await
    });
    let running = start(server, slow).await;
    let answer = ask(&mut connect(running.address).await, GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (mut sender, _) = http2(connect(running.address).await).await;
    let response = within(sender.send_request(get())).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_client_of_http_2_that_answers_no_ping_is_ended() {
    let server = open().with_keep_alive_pings(SHORT, SHORT);
    let never = service_fn(async |_| std::future::pending().await);
    let running = start(server, never_answers(never)).await;
    let mut client = connect(running.address).await;
    // `GET http://localhost/` by indexed fields of HPACK's static table.
    let headers = [0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x84, 0x86];
    let request = [PREFACE, SETTINGS, &headers].concat();
    client.write_all(&request).await.unwrap();
    ended(&mut client).await;
}

/// The type of an answer that never comes.
fn never_answers<S>(service: S) -> S
where
    S: tower::Service<
            http::Request<portcullis::Body<portcullis::serve::Incoming>>,
            Response = http::Response<String>,
            Error = std::convert::Infallible,
        >,
{
    service
}
