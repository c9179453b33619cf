//! kill -9 in the middle of pulls and pushes.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::any;
use reqwest::Body;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::folder::files;
use crate::support::{Mirror, sha256, until};

/// A body that goes on as long as the sender is there.
fn body() -> (mpsc::Sender<std::io::Result<Vec<u8>>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    (sender, Body::wrap_stream(pieces))
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

/// A registry with one image of three layers under each of a few tags.
pub(crate) async fn registry(layers: Vec<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let layers = Arc::new(layers);
    let handler = move |request: Request| {
        let layers = Arc::clone(&layers);
        async move {
            let path = request.uri().path();
            let blob = |layer: &&Vec<u8>| path.ends_with(&sha256(layer));
            if path.contains("/manifests/") {
                let manifest = image(&layers);
                return ([("content-type", IMAGE)], manifest).into_response();
            }
            match layers.iter().find(blob) {
                Some(layer) => layer.clone().into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            }
        }
    };
    let router = Router::new().fallback(any(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) fn image(layers: &[Vec<u8>]) -> String {
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| json!({"mediaType": "x/y", "size": layer.len(), "digest": sha256(layer)}))
        .collect();
    json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": layers}).to_string()
}

/// Pulls and pushes until the mirror is gone, and counts the requests.
async fn traffic(mirror: &Mirror, round: usize, layers: &[Vec<u8>], done: &AtomicUsize) {
    let client = mirror.by_token();
    let count = || done.fetch_add(1, Ordering::SeqCst);
    let pull = async {
        for number in 0.. {
            let tag = format!("/v2/pulled/manifests/t{}", (round + number) % 5);
            client.get(mirror.url(&tag)).send().await?;
            count();
            for layer in layers {
                let path = format!("/v2/pulled/blobs/{}", sha256(layer));
                client.get(mirror.url(&path)).send().await?.bytes().await?;
                count();
            }
        }
        Ok::<_, reqwest::Error>(())
    };
    let push = async {
        for number in 0.. {
            let layer = format!("{round} {number}").repeat(20_000).into_bytes();
            let digest = sha256(&layer);
            let begun = client.post(mirror.url("/v2/pushed/blobs/uploads/"));
            let begun = begun.send().await?;
            let location = begun.headers()["location"].to_str().unwrap().to_owned();
            let put = mirror.url(&format!("{location}?digest={digest}"));
            client.put(put).body(layer.clone()).send().await?;
            count();
            let tag = format!("/v2/pushed/manifests/t{}", number % 5);
            let put = client.put(mirror.url(&tag)).header("content-type", IMAGE);
            put.body(image(&[layer])).send().await?;
            count();
        }
        Ok::<_, reqwest::Error>(())
    };
    let _ = tokio::join!(pull, push);
}

#[tokio::test]
async fn kills_at_random_points_leave_every_blob_its_digest_and_every_tag_a_whole_manifest() {
    let data = TempDir::new().unwrap();
    let layers = (0..3_u8)
        .map(|number| vec![number; 400_000])
        .collect::<Vec<_>>();
    let url = format!("http://{}", registry(layers.clone()).await);
    let arguments = [
        "--upstream",
        url.as_str(),
        "--tag-ttl",
        "0s",
        "--max-size",
        "1MiB",
        "--untagged-ttl",
        "1s",
    ];
    let mut stored = 0;
    for round in 0..50 {
        let mut mirror = Mirror::with(&data, &arguments).await;
        let random = getrandom::u32().unwrap();
        let (requests, micros) = (random as usize % 24, u64::from(random) / 24 % 20_000);
        let done = AtomicUsize::new(0);
        let point = async {
            until("some requests", || {
                (done.load(Ordering::SeqCst) >= requests).then_some(())
            })
            .await;
            tokio::time::sleep(Duration::from_micros(micros)).await;
        };
        tokio::select! {
            () = traffic(&mirror, round, &layers, &done) => {}
            () = point => {}
        }
        mirror.signal("-KILL");
        mirror.ended().await;
        for path in files(&mirror.data().join("blobs")) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let digest = sha256(&fs::read(&path).unwrap());
            assert_eq!(digest, format!("sha256:{name}"), "round {round}");
            stored += 1;
        }
    }
    assert!(stored > 0, "no round stored anything");
    // Without an upstream: what is here is all that there is.
    let mirror = Mirror::start(&data).await;
    let client = mirror.by_token();
    let mut tags = 0;
    for repository in ["pulled", "pushed"] {
        let directory = mirror
            .data()
            .join("repositories")
            .join(repository)
            .join("_tags");
        let Ok(names) = fs::read_dir(directory) else {
            continue;
        };
        for name in names {
            let name = name.unwrap().file_name().into_string().unwrap();
            let path = format!("/v2/{repository}/manifests/{name}");
            let get = client.get(mirror.url(&path)).send().await.unwrap();
            assert_eq!(get.status(), 200, "{path}");
            let manifest: Value = serde_json::from_slice(&get.bytes().await.unwrap()).unwrap();
            tags += 1;
            for layer in manifest["layers"].as_array().unwrap() {
                let digest = layer["digest"].as_str().unwrap();
                let path = format!("/v2/{repository}/blobs/{digest}");
                let get = client.get(mirror.url(&path)).send().await.unwrap();
                // What was pulled can be had again, and was evicted, perhaps; what was pushed is here.
                if repository == "pushed" || get.status() == 200 {
                    assert_eq!(sha256(&get.bytes().await.unwrap()), digest);
                }
            }
        }
    }
    assert!(tags > 0, "no tag came of it");
    assert_eq!(files(&mirror.data().join("tmp")), Vec::<PathBuf>::new());
}
