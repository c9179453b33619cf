//! What of a blob is given that comes from upstream.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::future::join_all;
use reqwest::Method;

use crate::misbehaving::{Fault, Misbehaving};
use crate::support::{Data, LONG, Server, assert_error, header, noise, sha256};

#[tokio::test]
async fn a_head_of_a_blob_is_answered_by_what_a_get_gives() {
    let digest = sha256(b"layer");
    let length = |length: &str| ("content-length", length.to_owned());
    let right = ("docker-content-digest", digest.to_string());
    let other = ("docker-content-digest", sha256(b"other").to_string());
    let page = vec![("content-type", "text/html".to_owned()), length("23")];
    for (status, headers) in [
        (200, vec![length("5"), right]),
        (200, vec![length("5")]),
        (200, page),
        (200, vec![length("0")]),
        (200, vec![length("5"), other]),
        (206, vec![length("1")]),
        (304, vec![]),
        (404, vec![]),
        (500, vec![]),
    ] {
        for there in [false, true] {
            let (upstream, here) = (Misbehaving::start().await, Data::new());
            let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
            if there {
                upstream.put_blob("a", b"layer");
            }
            let lie = Fault::Answer(status, headers.clone(), Bytes::new());
            upstream.at("HEAD ", lie);
            let blob = format!("/v2/a/blobs/{digest}");
            let head = mirror.head(&blob).await;
            assert_eq!(head.status(), if there { 200 } else { 404 }, "{headers:?}");
            if there {
                assert_eq!(header(&head, "content-length"), "5");
            }
            assert_eq!(head.status(), mirror.get(&blob).await.status());
        }
    }
}

#[tokio::test]
async fn a_head_that_says_yes_gives_no_repository_the_layer_of_another() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let digest = upstream.put_blob("secret", b"layer");
    let get = mirror.get(&format!("/v2/secret/blobs/{digest}")).await;
    assert_eq!(get.text().await.unwrap(), "layer");
    let yes = vec![("content-length", "5".to_owned())];
    upstream.at("HEAD ", Fault::Answer(200, yes, Bytes::new()));
    let blob = format!("/v2/public/blobs/{digest}");
    assert_error(mirror.get(&blob).await, 404, "BLOB_UNKNOWN").await;
    assert_eq!(mirror.head(&blob).await.status(), 404);
}

#[tokio::test]
async fn a_page_that_says_200_to_all_is_no_blob() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    upstream.at(
        "",
        Fault::text(200, "text/html; charset=utf-8", "<html>log in"),
    );
    let blob = format!("/v2/a/blobs/{}", sha256(b"layer"));
    assert_eq!(mirror.head(&blob).await.status(), 502);
    assert_error(mirror.get(&blob).await, 502, "UNAVAILABLE").await;
}

/// Before: 15 to 30 s of silence.
#[tokio::test]
async fn a_part_where_all_was_asked_for_is_no_blob_and_is_told_at_once() {
    for range in [
        "bytes 0-4/10",
        "bytes 5-9/10",
        "bytes 0-4/*",
        "bytes */10",
        "",
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        let headers = vec![("content-range", range.to_owned())];
        let part = Fault::Answer(206, headers, Bytes::from_static(b"layer"));
        upstream.at("GET /v2/a/blobs/", part);
        let began = Instant::now();
        let blob = format!("/v2/a/blobs/{}", sha256(b"layer"));
        assert_error(mirror.get(&blob).await, 502, "UNAVAILABLE").await;
        assert!(began.elapsed() < Duration::from_secs(10), "{range}");
    }
}

/// Where the upstream gives no rest it is asked for all, of which what is here is left out.
#[tokio::test]
async fn a_transfer_that_was_cut_is_whole_from_an_upstream_that_refuses_ranges() {
    let content = noise(3_000_000);
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let blob = format!("/v2/a/blobs/{}", upstream.put_blob("a", &content));
    // The newest comes first.
    upstream.times(1, &format!("GET {blob}"), Fault::Status(416));
    upstream.times(1, &format!("GET {blob}"), Fault::Cut(1_000_000));
    let got = mirror.get(&blob).await.bytes().await.unwrap();
    assert!(got == content);
}

#[tokio::test]
async fn an_empty_blob_is_one() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let blob = format!("/v2/a/blobs/{}", upstream.put_blob("a", b""));
    upstream.at("HEAD ", Fault::Status(405));
    assert_eq!(header(&mirror.head(&blob).await, "content-length"), "0");
    assert_eq!(mirror.get(&blob).await.text().await.unwrap(), "");
}

#[tokio::test]
async fn no_range_of_a_blob_is_whole_before_the_blob_is_verified() {
    let content = noise(2_000_000);
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let right = upstream.put_blob("a", &content);
    let wrong = sha256(b"another content");
    let lie = Fault::Answer(200, vec![], Bytes::from(content.clone()));
    upstream.at(&format!("GET /v2/a/blobs/{wrong}"), lie);
    for (first, last) in [(0, 999), (5, 5), (100_000, 1_500_000)] {
        let get = async |digest| {
            let request = mirror.request(Method::GET, &format!("/v2/a/blobs/{digest}"));
            let request = request.header("range", format!("bytes={first}-{last}"));
            request.send().await.unwrap()
        };
        let lie = get(&wrong).await;
        assert_eq!(lie.status(), 206);
        assert!(lie.bytes().await.is_err());
        let good = get(&right).await;
        assert!(good.bytes().await.unwrap() == content[first..=last]);
    }
}

#[tokio::test]
async fn on_a_full_disk_each_of_several_readers_gets_the_whole_blob() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    mirror.registry().store.disk().set_min_free(u64::MAX / 2);
    let content = noise(8 * 1024 * 1024);
    let path = format!("/v2/a/blobs/{}", upstream.put_blob("a", &content));
    let slowly = async {
        let mut get = mirror.get(&path).await;
        let mut found = Vec::new();
        while let Some(piece) = get.chunk().await.unwrap() {
            found.extend_from_slice(&piece);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        found
    };
    let fast = join_all((0..4).map(async |number: u64| {
        // Some come when it runs already.
        tokio::time::sleep(Duration::from_millis(number * 20)).await;
        mirror.get(&path).await.bytes().await.unwrap()
    }));
    let began = Instant::now();
    let (slow, fast) = tokio::join!(slowly, fast);
    assert!(slow == content, "{:?}", began.elapsed());
    for found in fast {
        assert!(found == content);
    }
    assert_eq!(here.files("blobs").len(), 0);
}
