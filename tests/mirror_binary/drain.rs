//! SIGTERM and SIGINT.

use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::Mirror;

/// More than the buffers between a server and a client that does not read take.
const LONG: usize = 64 << 20;

async fn closed(mirror: &Mirror) {
    while TcpStream::connect(&mirror.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_transfer_in_flight_finishes_and_no_new_connection_is_taken() {
    for signal in ["-TERM", "-INT"] {
        let data = TempDir::new().unwrap();
        let mut mirror = Mirror::with(&data, &["--drain", "10m"]).await;
        let path = mirror.push_blob("a", &vec![7; LONG]).await;
        let builder = mirror.builder(crate::support::Shown {
            token: Some(&mirror.token()),
            ..Default::default()
        });
        let client = builder.http1_only().build().unwrap();
        let mut response = client.get(mirror.url(&path)).send().await.unwrap();
        let mut length = response.chunk().await.unwrap().unwrap().len();
        mirror.signal(signal);
        closed(&mirror).await;
        assert!(length < LONG);
        while let Some(chunk) = response.chunk().await.unwrap() {
            length += chunk.len();
        }
        assert_eq!(length, LONG);
        assert!(mirror.ended().await.success());
    }
}

#[tokio::test]
async fn a_transfer_that_outlives_the_deadline_is_cut() {
    let data = TempDir::new().unwrap();
    let mut mirror = Mirror::with(&data, &["--drain", "200ms"]).await;
    let path = mirror.push_blob("a", &vec![7; LONG]).await;
    let mut response = mirror
        .by_token()
        .get(mirror.url(&path))
        .send()
        .await
        .unwrap();
    response.chunk().await.unwrap().unwrap();
    mirror.signal("-TERM");
    // It has to end although no client reads.
    assert_eq!(mirror.ended().await.code(), Some(1));
    assert!(response.bytes().await.is_err());
}

#[tokio::test]
async fn a_second_signal_ends_what_the_first_would_wait_for() {
    let data = TempDir::new().unwrap();
    let mut mirror = Mirror::with(&data, &["--drain", "1h"]).await;
    let path = mirror.push_blob("a", &vec![7; LONG]).await;
    let mut response = mirror
        .by_token()
        .get(mirror.url(&path))
        .send()
        .await
        .unwrap();
    response.chunk().await.unwrap().unwrap();
    mirror.signal("-INT");
    closed(&mirror).await;
    mirror.signal("-INT");
    assert_eq!(mirror.ended().await.code(), Some(1));
}

#[tokio::test]
async fn an_idle_connection_keeps_nobody_waiting() {
    let data = TempDir::new().unwrap();
    let mut mirror = Mirror::with(&data, &["--drain", "1h"]).await;
    let client = mirror.by_token();
    let response = client.get(mirror.url("/v2/")).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "{}");
    let _silent = TcpStream::connect(&mirror.address).await.unwrap();
    mirror.signal("-TERM");
    assert!(mirror.ended().await.success());
}
