//! A service that fails.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use portcullis::Body;
use portcullis::serve::Incoming;
use tower::service_fn;

use super::support::{GET, ask, connect, ended, get, http2, open, start, whoami, within};

async fn service(
    request: Request<Body<Incoming>>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    match request.uri().path() {
        "/panic" => panic!("on purpose"),
        "/error" => Err(std::io::Error::other("on purpose")),
        _ => Ok(whoami(request).await.unwrap()),
    }
}

#[tokio::test]
async fn a_panic_and_an_error_are_answered_with_500_and_the_connection_goes_on() {
    let running = start(open(), service_fn(service)).await;
    let mut client = connect(running.address).await;
    let (mut sender, _) = http2(connect(running.address).await).await;
    for path in ["/panic", "/error"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let failed = ask(&mut client, request.as_bytes()).await;
        assert!(failed.starts_with("HTTP/1.1 500 "), "{failed}");
        assert!(
            failed.contains("content-type: application/json"),
            "{failed}"
        );
        assert!(
            failed.ends_with("{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"unknown error\"}]}"),
            "{failed}"
        );
        let mut request = get();
        *request.uri_mut() = format!("http://localhost{path}").parse().unwrap();
        let failed = within(sender.send_request(request)).await.unwrap();
        assert_eq!(failed.status(), 500);
    }
    let answer = ask(&mut client, GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = within(sender.send_request(get())).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn the_answer_to_a_head_request_that_panics_has_no_body() {
    let running = start(open(), service_fn(service)).await;
    let (mut sender, _) = http2(connect(running.address).await).await;
    let mut request = get();
    *request.method_mut() = http::Method::HEAD;
    *request.uri_mut() = "http://localhost/panic".parse().unwrap();
    let failed = within(sender.send_request(request)).await.unwrap();
    assert_eq!(failed.status(), 500);
    let body = within(failed.into_body().collect()).await.unwrap();
    assert!(body.to_bytes().is_empty());
}

/// A body that panics.
#[derive(Default)]
struct Panics;

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_body_that_panics_ends_its_stream_and_no_other() {
    let body = service_fn(async |request: Request<Body<Incoming>>| {
        let panics = request.uri().path() == "/panic";
        let body = if panics {
            Panics.boxed()
        } else {
            Full::from("whole").boxed()
        };
        Ok::<_, Infallible>(Response::new(body))
    });
    let running = start(open(), body).await;
    let (mut sender, _) = http2(connect(running.address).await).await;
    let mut request = get();
    *request.uri_mut() = "http://localhost/panic".parse().unwrap();
    // The reset may come before the head was sent, or after it.
    if let Ok(panicked) = within(sender.send_request(request)).await {
        assert!(within(panicked.into_body().collect()).await.is_err());
    }
    let whole = within(sender.send_request(get())).await.unwrap();
    let whole = within(whole.into_body().collect()).await.unwrap();
    assert_eq!(whole.to_bytes(), "whole");

    let mut client = connect(running.address).await;
    let request = b"GET /panic HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, request)
        .await
        .unwrap();
    let text = ended(&mut client).await;
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}
