//! An answer arrives though the client is sending.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use portcullis::Body;
use portcullis::serve::Incoming;
use tokio::io::AsyncWriteExt;
use tower::service_fn;

use super::support::{GET, Tls, answer, ask, connect, ended, http2, open, start, whoami, within};

/// Answers without a look at the body.
async fn refuse(request: Request<Body<Incoming>>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == http::Method::GET {
        return whoami(request).await;
    }
    let mut response = Response::new(Full::from("no"));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    Ok(response)
}

fn put(length: usize) -> Vec<u8> {
    let head = format!("PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + length, b'x');
    request
}

#[tokio::test]
async fn a_small_body_that_nobody_reads_costs_neither_the_answer_nor_the_connection() {
    let running = start(open(), service_fn(refuse)).await;
    let mut client = connect(running.address).await;
    for length in [0, 1, 1000, 60_000, 100_000, 250_000] {
        let refused = ask(&mut client, &put(length)).await;
        assert!(refused.starts_with("HTTP/1.1 401 "), "{length}: {refused}");
        let again = ask(&mut client, GET).await;
        assert!(again.ends_with("127.0.0.1"), "{length}: {again}");
    }
}

#[tokio::test]
async fn of_a_large_body_that_nobody_reads_the_answer_arrives_and_says_that_it_is_the_last() {
    let tls = Tls::new();
    let running = start(open(), service_fn(refuse)).await;
    let secured = start(tls.open(), service_fn(refuse)).await;
    for _ in 0..20 {
        let mut client = connect(running.address).await;
        // All of it before anything is read, as some clients do.
        within(client.write_all(&put(1_000_000))).await.unwrap();
        let refused = answer(&mut client).await.unwrap();
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        assert!(refused.contains("connection: close\r\n"), "{refused}");
        let mut client = tls.connect(secured.address, "http/1.1").await.unwrap();
        within(client.write_all(&put(1_000_000))).await.unwrap();
        let refused = answer(&mut client).await.unwrap();
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        assert!(refused.contains("connection: close\r\n"), "{refused}");
    }
}

#[tokio::test]
async fn a_client_that_sends_without_end_is_closed_in_the_end() {
    let running = start(open(), service_fn(refuse)).await;
    let (mut reads, mut writes) = connect(running.address).await.into_split();
    let sends = tokio::spawn(async move {
        let head = b"PUT / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = writes.write_all(head).await;
        let chunk = [&b"10000\r\n"[..], &vec![b'x'; 0x10000], b"\r\n"].concat();
        while writes.write_all(&chunk).await.is_ok() {}
    });
    let refused = answer(&mut reads).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    within(sends).await.unwrap();
}

#[tokio::test]
async fn a_body_that_was_not_asked_for_is_not_waited_for() {
    let running = start(open(), service_fn(refuse)).await;
    let mut client = connect(running.address).await;
    let request = "PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\
                   expect: 100-continue\r\n\r\n";
    let refused = ask(&mut client, request.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    // What comes next could be the body or a request.
    assert!(refused.contains("connection: close\r\n"), "{refused}");
    assert_eq!(ended(&mut client).await, "");
}

#[tokio::test]
async fn over_http_2_the_answer_to_an_upload_that_nobody_reads_arrives() {
    let running = start(open(), service_fn(refuse)).await;
    let (mut sender, _) = http2(connect(running.address).await).await;
    for length in [0, 1, 100_000, 250_000, 1_000_000, 250_000] {
        let body = Full::new(Bytes::from(vec![b'x'; length]));
        let request = Request::put("http://localhost/").body(body).unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 401, "{length}");
    }
}

#[tokio::test]
async fn a_slow_rest_of_a_body_holds_the_answer_back_for_a_short_time_only() {
    let running = start(open(), service_fn(refuse)).await;
    let mut client = connect(running.address).await;
    let request = put(1000);
    let refused = ask(&mut client, &request[..900]).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(refused.contains("connection: close\r\n"), "{refused}");
}
