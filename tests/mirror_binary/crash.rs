//! kill -9 in the middle of an upload.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Body;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::{Mirror, sha256, until};

/// A body that goes on as long as the sender is there.
fn body() -> (mpsc::Sender<std::io::Result<Vec<u8>>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    (sender, Body::wrap_stream(pieces))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn a_kill_in_the_middle_of_an_upload_leaves_no_half_blob() {
    let data = TempDir::new().unwrap();
    let mut mirror = Mirror::start(&data).await;
    let kept = mirror.push_blob("a", b"kept").await;
    let content = vec![7; 4 << 20];
    let digest = sha256(&content);
    let client = mirror.by_token();

    let (post, whole) = body();
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let posting = tokio::spawn(client.post(mirror.url(&path)).body(whole).send());
    let begun = client.post(mirror.url("/v2/a/blobs/uploads/")).send();
    let location = begun.await.unwrap().headers()["location"]
        .to_str()
        .unwrap()
        .to_owned();
    let (chunks, chunk) = body();
    let patching = tokio::spawn(client.patch(mirror.url(&location)).body(chunk).send());
    for piece in content[..3 << 20].chunks(64 << 10) {
        post.send(Ok(piece.to_vec())).await.unwrap();
        chunks.send(Ok(piece.to_vec())).await.unwrap();
    }
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    for part in ["tmp", "uploads"] {
        let directory = mirror.data().join(part);
        until("bytes on the disk", || {
            files(&directory)
                .iter()
                .any(|file| size(file) >= 1 << 20)
                .then_some(())
        })
        .await;
    }
    mirror.signal("-KILL");
    mirror.ended().await;
    assert!(posting.await.unwrap().is_err());
    assert!(patching.await.unwrap().is_err());

    let mirror = Mirror::start(&data).await;
    let client = mirror.by_token();
    assert_eq!(files(&mirror.data().join("tmp")), Vec::<PathBuf>::new());
    let get = client.get(mirror.url(&kept)).send().await.unwrap();
    assert_eq!(get.text().await.unwrap(), "kept");
    let half = client.get(mirror.url(&format!("/v2/a/blobs/{digest}")));
    assert_eq!(half.send().await.unwrap().status(), 404);
    assert_eq!(files(&mirror.data().join("blobs")).len(), 1);

    // The chunked one goes on where the disk has it.
    let status = client.get(mirror.url(&location)).send().await.unwrap();
    assert_eq!(status.status(), 204);
    let range = status.headers()["range"].to_str().unwrap();
    let last: usize = range.strip_prefix("0-").unwrap().parse().unwrap();
    let put = client.put(mirror.url(&format!("{location}?digest={digest}")));
    let put = put.body(content[last + 1..].to_vec()).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let get = client.get(mirror.url(&format!("/v2/a/blobs/{digest}")));
    assert!(get.send().await.unwrap().bytes().await.unwrap() == content);
}
