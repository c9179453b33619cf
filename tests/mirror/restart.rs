//! What a restart finds.

use std::fs;

use reqwest::Method;

use crate::store::{Limits, Store, StoreError};
use crate::support::{Data, Server, header, noise, sha256};

#[tokio::test]
async fn images_and_tags_survive_a_restart() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let (manifest, digest) = server.push_image("a/b", "tag", b"layer").await;
    server.stop().await;
    let server = Server::start(&data).await;
    let get = server.get("/v2/a/b/manifests/tag").await;
    assert_eq!(header(&get, "docker-content-digest"), digest.to_string());
    assert_eq!(get.bytes().await.unwrap(), manifest);
    let blob = server
        .get(&format!("/v2/a/b/blobs/{}", sha256(b"layer")))
        .await;
    assert_eq!(blob.text().await.unwrap(), "layer");
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = noise(200_000);
    let location = server.begin("a").await;
    let chunk = server
        .request(Method::PATCH, &location)
        .body(content[..120_000].to_vec());
    assert_eq!(chunk.send().await.unwrap().status(), 202);
    server.stop().await;
    let server = Server::start(&data).await;
    assert_eq!(header(&server.get(&location).await, "range"), "0-119999");
    let path = format!("{location}?digest={}", sha256(&content));
    let put = server
        .request(Method::PUT, &path)
        .body(content[120_000..].to_vec());
    assert_eq!(put.send().await.unwrap().status(), 201);
    let blob = server
        .get(&format!("/v2/a/blobs/{}", sha256(&content)))
        .await;
    assert!(blob.bytes().await.unwrap() == content);
}

#[tokio::test]
async fn what_a_crash_left_between_two_steps_is_swept_or_finished() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let kept = server.push_blob("a", b"kept").await;
    let location = server.begin("a").await;
    server.stop().await;
    // A temporary file; a blob renamed and not yet linked; an upload committed and not yet removed.
    fs::write(data.path().join("tmp/leftover"), "half").unwrap();
    let orphan = data.path().join("blobs/sha256/aa");
    fs::create_dir_all(&orphan).unwrap();
    fs::write(orphan.join("a".repeat(64)), "not linked").unwrap();
    let id = location.rsplit('/').next().unwrap();
    fs::remove_file(data.path().join("uploads").join(id).join("data")).unwrap();
    let server = Server::start(&data).await;
    assert_eq!(data.files("tmp").len(), 0);
    assert_eq!(data.files("blobs").len(), 1);
    assert_eq!(
        server.get(&format!("/v2/a/blobs/{kept}")).await.status(),
        200
    );
    assert_eq!(server.get(&location).await.status(), 404);
}

#[tokio::test]
async fn two_processes_never_share_a_directory() {
    let data = Data::new();
    let _server = Server::start(&data).await;
    let second = Store::open(data.path(), Limits::default());
    assert!(matches!(second, Err(StoreError::Locked(_))));
}
