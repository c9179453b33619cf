//! A service that answers early by itself, behind a [`DrainLayer`].

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use portcullis::middleware::{DrainLayer, EarlyBody};
use tokio::io::AsyncWriteExt;
use tower::{Layer, service_fn};

use super::support::{Client, head, serve};

/// Refuses by the head, or in the middle of the body where `x-reads` is there.
async fn refuse(
    request: Request<EarlyBody<Incoming>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let reads = request.headers().contains_key("x-reads");
    let mut body = request.into_body();
    if reads {
        body.frame().await;
    }
    drop(body);
    let mut response = Response::new(Full::new(Bytes::from("no")));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    Ok(response)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_answer_of_the_service_arrives_and_the_connection_is_kept_or_its_end_announced() {
    let address = serve(DrainLayer::new().layer(service_fn(refuse))).await;
    let mut client = Client::new(address).await;
    let sizes = [0, 1, 1000, 100_000, 262_144, 262_145, 1_000_000];
    for size in sizes.into_iter().cycle().take(70) {
        let answer = client.put(None, &vec![7; size]).await;
        let answer = answer.unwrap_or_else(|| panic!("no answer to {size} bytes"));
        assert_eq!(
            (answer.status, answer.closes),
            (400, size > 262_144),
            "{size}"
        );
        if answer.closes {
            client = Client::new(address).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_body_is_drained() {
    let address = serve(DrainLayer::new().layer(service_fn(refuse))).await;
    let mut client = Client::new(address).await;
    for _ in 0..20 {
        let head = head(None, "Content-Length: 100000\r\nX-Reads: 1");
        client.0.write_all(head.as_bytes()).await.unwrap();
        client.0.write_all(&vec![7; 100_000]).await.unwrap();
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.closes), (400, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_to_be_asked_is_drained_only_if_the_service_asked() {
    let address = serve(DrainLayer::new().layer(service_fn(refuse))).await;
    let expects = "Content-Length: 1000\r\nExpect: 100-continue";
    let mut client = Client::new(address).await;
    client
        .0
        .write_all(head(None, expects).as_bytes())
        .await
        .unwrap();
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.closes), (400, true));

    let mut client = Client::new(address).await;
    let reads = head(None, &format!("{expects}\r\nX-Reads: 1"));
    client.0.write_all(reads.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut client.0, &mut asked)
        .await
        .unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.0.write_all(&[7; 1000]).await.unwrap();
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.closes), (400, false));
}

#[tokio::test]
async fn what_was_read_to_its_end_is_left_alone() {
    use tower::ServiceExt;

    let service = DrainLayer::new().layer(service_fn(
        async |request: Request<EarlyBody<Full<Bytes>>>| {
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, Infallible>(Response::new(body))
        },
    ));
    let request = Request::new(Full::new(Bytes::from("all of it")));
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.body(), "all of it");
    assert!(response.headers().is_empty());
}
