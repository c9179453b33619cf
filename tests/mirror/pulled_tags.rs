//! Tags of the upstream, and those of this mirror.

use std::time::Duration;

use axum::response::IntoResponse as _;
use serde_json::json;

use crate::pull::{lines, upstream};
use crate::support::{
    Data, INDEX, LONG, MANIFEST, Server, assert_error, descriptor, header, sha256,
};

#[tokio::test]
async fn a_tag_is_asked_for_again_when_its_time_is_over() {
    let (there, fresh, kept) = (Data::new(), Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    upstream.push_image("a", "latest", b"one").await;
    let checking = Server::mirror(&fresh, &upstream.url(), Duration::ZERO).await;
    let trusting = Server::mirror(&kept, &upstream.url(), LONG).await;
    let path = "/v2/a/manifests/latest";
    let before = header(&checking.get(path).await, "docker-content-digest");
    assert_eq!(
        header(&trusting.get(path).await, "docker-content-digest"),
        before
    );
    assert_eq!(
        header(&checking.get(path).await, "docker-content-digest"),
        before
    );
    let (_, moved) = upstream.push_image("a", "latest", b"two").await;
    assert_eq!(
        header(&trusting.get(path).await, "docker-content-digest"),
        before
    );
    let after = header(&checking.get(path).await, "docker-content-digest");
    assert_eq!(after, moved.to_string());
    upstream.delete(path).await;
    assert_error(checking.get(path).await, 404, "MANIFEST_UNKNOWN").await;
}

#[tokio::test]
async fn a_tag_is_served_while_upstream_is_away() {
    let (there, here) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    let (manifest, _) = upstream.push_image("a", "tag", b"layer").await;
    let mirror = Server::mirror(&here, &upstream.url(), Duration::ZERO).await;
    assert_eq!(mirror.get("/v2/a/manifests/tag").await.status(), 200);
    upstream.stop().await;
    let get = mirror.get("/v2/a/manifests/tag").await;
    assert_eq!(get.bytes().await.unwrap(), manifest);
    let response = mirror.get("/v2/a/manifests/other").await;
    assert_error(response, 502, "UNAVAILABLE").await;
}

#[tokio::test]
async fn a_tag_pushed_here_is_this_mirrors_own() {
    let (there, here) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    upstream.push_image("a", "tag", b"theirs").await;
    let mirror = Server::mirror(&here, &upstream.url(), Duration::ZERO).await;
    let (_, ours) = mirror.push_image("a", "tag", b"ours").await;
    let head = mirror.head("/v2/a/manifests/tag").await;
    assert_eq!(header(&head, "docker-content-digest"), ours.to_string());
}

#[tokio::test]
async fn a_name_of_another_registry_is_not_taken_for_this_ones() {
    let (there, here) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    upstream.push_image("a", "tag", b"layer").await;
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let path = "/v2/a/manifests/tag";
    for query in ["", "?ns=docker.io", "?ns=docker.io:443"] {
        let response = mirror.get(&format!("{path}{query}")).await;
        assert_eq!(response.status(), 200, "{query}");
    }
    let response = mirror.get(&format!("{path}?ns=ghcr.io")).await;
    assert_error(response, 404, "MANIFEST_UNKNOWN").await;
    let blob = format!("/v2/a/blobs/{}?ns=ghcr.io", sha256(b"layer"));
    assert_error(mirror.get(&blob).await, 404, "BLOB_UNKNOWN").await;
}

#[tokio::test]
async fn tags_and_referrers_are_those_of_both() {
    let (there, here) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    assert_error(mirror.get("/v2/a/tags/list").await, 404, "NAME_UNKNOWN").await;
    let (manifest, subject) = upstream.push_image("a", "theirs", b"layer").await;
    upstream.push_image("a", "both", b"layer").await;
    mirror.push_image("a", "both", b"layer").await;
    mirror.push_image("a", "ours", b"layer").await;
    let tags = mirror.get("/v2/a/tags/list").await.text().await.unwrap();
    assert_eq!(tags, r#"{"name":"a","tags":["both","ours","theirs"]}"#);
    let mut expected = Vec::new();
    for (server, kind) in [(&upstream, "their/sig"), (&mirror, "our/sig")] {
        let named = descriptor(MANIFEST, &manifest);
        let index =
            json!({"schemaVersion": 2, "manifests": [], "subject": named, "artifactType": kind});
        let index = serde_json::to_vec(&index).unwrap();
        let response = server.put_manifest("a", "sig", INDEX, &index).await;
        assert_eq!(response.status(), 201);
        expected.push(sha256(&index).to_string());
    }
    expected.sort();
    let path = format!("/v2/a/referrers/{subject}");
    let found = mirror.get(&path).await.text().await.unwrap();
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let found = found["manifests"].as_array().unwrap().iter();
    let found: Vec<_> = found
        .map(|entry| entry["digest"].as_str().unwrap())
        .collect();
    assert_eq!(found, expected);
    // Better no answer than one that hides a signature.
    upstream.stop().await;
    assert_error(mirror.get(&path).await, 502, "UNAVAILABLE").await;
}

#[tokio::test]
async fn a_digest_that_cannot_be_verified_is_not_taken_for_a_tag() {
    let (upstream, asked) =
        upstream(|_, _| ([("content-type", INDEX)], "{}").into_response()).await;
    let here = Data::new();
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    for digest in ["blake3:abc", "sha384:abc"] {
        let response = mirror.get(&format!("/v2/a/manifests/{digest}")).await;
        assert_eq!(response.status(), 400, "{digest}");
    }
    assert_eq!(lines(&asked), Vec::<String>::new());
}
