//! An answer arrives though the client is sending.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use portcullis::Body;
use portcullis::serve::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tower::service_fn;

use super::support::{
    GET, Tls, answer, ask, connect, ended, http2, open, start, until, whoami, within,
};

/// Answers without a look at the body.
async fn refuse(request: Request<Body<Incoming>>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == http::Method::GET {
        return whoami(request).await;
    }
    Ok(no())
}

fn no() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from("no"));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}

fn put(length: usize) -> Vec<u8> {
    put_with("", length)
}

fn put_with(headers: &str, length: usize) -> Vec<u8> {
    let head =
        format!("PUT / HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\r\n");
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

/// As `curl --http2` asks without TLS.
#[tokio::test]
async fn a_client_that_offers_another_protocol_gets_its_answer_too() {
    let tls = Tls::new();
    let running = start(open(), service_fn(refuse)).await;
    let secured = start(tls.open(), service_fn(refuse)).await;
    let offer =
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
    // More than the buffers of both sides hold.
    let upload = put_with(offer, 16_000_000);
    for _ in 0..5 {
        let mut client = connect(running.address).await;
        within(client.write_all(&upload)).await.unwrap();
        let refused = answer(&mut client).await.unwrap();
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
        let mut client = tls.connect(secured.address, "http/1.1").await.unwrap();
        within(client.write_all(&upload)).await.unwrap();
        let refused = answer(&mut client).await.unwrap();
        assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    }
}

/// Answers all that comes after the head with the same bytes.
async fn echo(mut request: Request<Body<Incoming>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut connection = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let mut bytes = [0; 4];
        while connection.read_exact(&mut bytes).await.is_ok() {
            connection.write_all(&bytes).await.unwrap();
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("connection", HeaderValue::from_static("upgrade"));
    headers.insert("upgrade", HeaderValue::from_static("echo"));
    Ok(response)
}

#[tokio::test]
async fn a_service_that_takes_a_connection_over_keeps_it() {
    let running = start(open(), service_fn(echo)).await;
    for _ in 0..20 {
        let mut client = connect(running.address).await;
        let head =
            b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        within(client.write_all(head)).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(within(client.read_u8()).await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        for _ in 0..3 {
            within(client.write_all(b"ping")).await.unwrap();
            let mut echoed = [0; 4];
            within(client.read_exact(&mut echoed)).await.unwrap();
            assert_eq!(&echoed, b"ping");
        }
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
async fn the_rest_of_a_body_that_was_asked_for_is_waited_for() {
    let sips = service_fn(async |request: Request<Body<Incoming>>| {
        if request.method() == http::Method::GET {
            return whoami(request).await;
        }
        let mut body = pin!(request.into_body());
        body.frame().await.unwrap().unwrap();
        Ok(no())
    });
    let running = start(open(), sips).await;
    let mut client = connect(running.address).await;
    let request = put_with("expect: 100-continue\r\n", 1000);
    let asked = ask(&mut client, &request[..request.len() - 1000]).await;
    assert!(asked.starts_with("HTTP/1.1 100 "), "{asked}");
    for half in [[b'x'; 500]; 2] {
        client.write_all(&half).await.unwrap();
    }
    let refused = answer(&mut client).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert!(!refused.contains("connection: close"), "{refused}");
    let again = ask(&mut client, GET).await;
    assert!(again.ends_with("127.0.0.1"), "{again}");
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

type Sent = Result<Frame<Bytes>, Infallible>;

/// A body of HTTP/2 that is sent piece by piece.
fn piecemeal() -> (mpsc::Sender<Sent>, UnsyncBoxBody<Bytes, Infallible>) {
    let (send, receive) = mpsc::channel(1);
    let frames = futures_util::stream::unfold(receive, async |mut receive| {
        let frame: Option<Sent> = mpsc::Receiver::recv(&mut receive).await;
        Some((frame?, receive))
    });
    (send, UnsyncBoxBody::new(StreamBody::new(Box::pin(frames))))
}

/// Whether a stream lives on behind its answer, until the body of its request has ended.
async fn takes_the_body_after_its_answer(
    address: std::net::SocketAddr,
    header: Option<&(HeaderName, HeaderValue)>,
) -> bool {
    let (mut sender, _) = http2(connect(address).await).await;
    let (send, body) = piecemeal();
    let mut request = Request::put("http://localhost/").body(body).unwrap();
    request.headers_mut().extend(header.cloned());
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 401);
    within(response.into_body().collect()).await.unwrap();
    // What was sent behind the answer has come by the answer to the next request.
    let next = Request::get("http://localhost/").body(UnsyncBoxBody::new(Full::default()));
    let next = within(sender.send_request(next.unwrap())).await.unwrap();
    assert_eq!(next.status(), 200);
    for _ in 0..40 {
        let frame = Frame::data(Bytes::from(vec![b'x'; 0x4000]));
        if within(send.send(Ok(frame))).await.is_err() {
            return false;
        }
    }
    !send.is_closed()
}

/// Sends the head of a request whose body does not come.
async fn asks_without_a_body(address: std::net::SocketAddr, path: &str, length: usize) {
    let mut client = connect(address).await;
    let host = "host: localhost\r\n";
    let head = format!("PUT {path} HTTP/1.1\r\n{host}content-length: {length}\r\n\r\n");
    let refused = ask(&mut client, head.as_bytes()).await;
    assert!(refused.contains("connection: close\r\n"), "{refused}");
}

#[tokio::test]
async fn an_answer_waits_for_a_small_body_and_for_no_other() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let service = service_fn(move |request: Request<Body<Incoming>>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let is_last = request.uri().path() == "/last";
            let mut response = refuse(request).await?;
            if is_last {
                let value = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, value);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let running = start(open(), service).await;
    let address = running.address;
    let has_begun = |count| {
        let begun = Arc::clone(&begun);
        until("begun", move || begun.load(Ordering::SeqCst) == count)
    };
    // What is waited for first would be answered first.
    let small = tokio::spawn(asks_without_a_body(address, "/", 1000));
    has_begun(1).await;
    asks_without_a_body(address, "/last", 1000).await;
    asks_without_a_body(address, "/", 1_000_000).await;
    assert!(!small.is_finished());
    within(small).await.unwrap();

    let (mut sender, _) = http2(connect(address).await).await;
    let (_kept, body) = piecemeal();
    let small = Request::put("http://localhost/").header(CONTENT_LENGTH, 1000);
    let small = tokio::spawn(sender.send_request(small.body(body).unwrap()));
    has_begun(4).await;
    for length in [None, Some(1_000_000)] {
        let (_kept, body) = piecemeal();
        let mut other = Request::put("http://localhost/").body(body).unwrap();
        if let Some(length) = length {
            let length = HeaderValue::from(length);
            other.headers_mut().insert(CONTENT_LENGTH, length);
        }
        let answer = within(sender.send_request(other)).await.unwrap();
        assert_eq!(answer.status(), 401);
    }
    assert!(!small.is_finished());
    assert_eq!(within(small).await.unwrap().unwrap().status(), 401);
}

#[tokio::test]
async fn over_http_2_a_small_body_that_is_slow_is_taken_behind_its_answer() {
    let running = start(open(), service_fn(refuse)).await;
    let mut took = false;
    // A machine may be so busy that the time for it passes.
    for _ in 0..3 {
        let (mut sender, _) = http2(connect(running.address).await).await;
        let (send, body) = piecemeal();
        let small = Request::put("http://localhost/").header(CONTENT_LENGTH, 2);
        let response = within(sender.send_request(small.body(body).unwrap())).await;
        assert_eq!(response.unwrap().status(), 401);
        let half = || Ok(Frame::data(Bytes::from_static(b"x")));
        let first = within(send.send(half())).await.is_ok();
        let next = Request::get("http://localhost/").body(UnsyncBoxBody::new(Full::default()));
        let next = within(sender.send_request(next.unwrap())).await.unwrap();
        assert_eq!(next.status(), 200);
        took = took || first && within(send.send(half())).await.is_ok();
    }
    assert!(took, "the stream was reset behind its answer");
}

/// A client that finds the reset of the stream beside the answer takes it for a failure, as curl does.
#[tokio::test]
async fn over_http_2_an_early_answer_is_not_followed_by_a_reset_at_once() {
    let running = start(open(), service_fn(refuse)).await;
    let expects = (EXPECT, HeaderValue::from_static("100-continue"));
    let is_large = (CONTENT_LENGTH, HeaderValue::from(1_000_000));
    for header in [None, Some(expects), Some(is_large)] {
        let mut took = false;
        // A machine may be so busy that the time for it passes.
        for _ in 0..5 {
            let header = header.as_ref();
            took = took || takes_the_body_after_its_answer(running.address, header).await;
        }
        assert!(took, "the stream was reset behind its answer: {header:?}");
    }
}

#[tokio::test]
async fn over_http_2_a_body_without_end_is_reset_behind_its_answer() {
    let running = start(open(), service_fn(refuse)).await;
    let (mut sender, _) = http2(connect(running.address).await).await;
    let (send, body) = piecemeal();
    let request = Request::put("http://localhost/").body(body).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 401);
    within(send.closed()).await;
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
