//! What a disk or another program damaged is found before a client needs it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::store::Scrubbed;
use crate::support::{Damage, Data, INDEX, MANIFEST, Server, damage, descriptor, sha256};

const PACE: u64 = 1 << 30;

async fn scrub(server: &Server) -> Scrubbed {
    server.registry().store.scrub(PACE).await.unwrap()
}

#[tokio::test]
async fn a_scrub_finds_what_is_damaged_and_takes_it_away() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let (manifest, digest) = server.push_image("a", "tag", b"layer").await;
    let (_, other) = server.push_image("b", "tag", b"layer").await;
    assert_eq!(scrub(&server).await.damaged, 0);
    damage(&data.blob(&sha256(b"layer")), Damage::Flip);
    damage(&data.manifest("a", &digest), Damage::Flip);
    fs::write(data.path().join("repositories/b/_tags/broken"), "{").unwrap();
    let found = scrub(&server).await;
    assert_eq!((found.blobs, found.manifests, found.damaged), (2, 2, 3));
    let layer = sha256(b"layer");
    for (path, status) in [
        (format!("/v2/a/blobs/{layer}"), 404),
        (format!("/v2/b/blobs/{layer}"), 404),
        ("/v2/a/manifests/tag".to_owned(), 404),
        (format!("/v2/a/manifests/{digest}"), 404),
        (format!("/v2/b/manifests/{other}"), 200),
        ("/v2/b/manifests/broken".to_owned(), 404),
    ] {
        assert_eq!(server.get(&path).await.status(), status, "{path}");
    }
    assert_eq!(scrub(&server).await.damaged, 0);
    // And a push brings it again.
    server.push_blob("a", b"layer").await;
    let put = server.put_manifest("a", "tag", MANIFEST, &manifest).await;
    assert_eq!(put.status(), 201);
    assert_eq!(server.get("/v2/a/manifests/tag").await.status(), 200);
}

#[tokio::test]
async fn a_scrub_heals_from_a_good_copy_where_there_is_one() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("a", b"content").await;
    server.push_blob("b", b"content").await;
    let (target, link) = (data.blob(&digest), data.link("a", &digest));
    // As a crash in the middle of a mend leaves it: one name of the two has the good file.
    for bad in [&target, &link] {
        let good = if *bad == target { &link } else { &target };
        fs::remove_file(bad).unwrap();
        fs::write(bad, "c0ntent").unwrap();
        fs::set_permissions(bad, Permissions::from_mode(0o400)).unwrap();
        if *bad == link {
            assert_eq!(fs::read(good).unwrap(), b"content");
        }
        assert!(scrub(&server).await.damaged > 0);
        for repository in ["a", "b"] {
            let path = format!("/v2/{repository}/blobs/{digest}");
            let get = server.get(&path).await;
            assert_eq!(get.text().await.unwrap(), "content", "{repository}");
        }
        assert_eq!(scrub(&server).await.damaged, 0);
    }
    assert_eq!(data.files("tmp").len(), 0);
}

#[tokio::test]
async fn a_scrub_writes_again_what_a_list_of_referrers_lacks() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let subject = descriptor(MANIFEST, b"subject");
    let index = json!({"schemaVersion": 2, "manifests": [], "subject": subject});
    let index = serde_json::to_vec(&index).unwrap();
    assert_eq!(
        server
            .put_manifest("a", "tag", INDEX, &index)
            .await
            .status(),
        201
    );
    let entries = data.files("repositories/a/_referrers");
    fs::remove_file(&entries[0]).unwrap();
    let path = format!("/v2/a/referrers/{}", sha256(b"subject"));
    for there in [false, true] {
        let list = server.get(&path).await.text().await.unwrap();
        assert_eq!(list.contains(sha256(&index).hex()), there, "{list}");
        scrub(&server).await;
    }
}

/// Puts something that is not the content in the place of a file, by its number: a directory with a file in it, a
/// FIFO, and an empty file as a loss of power leaves it.
fn displace(path: &Path, number: usize) {
    fs::remove_file(path).unwrap();
    match number {
        0 => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "content").unwrap();
        }
        1 => mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap(),
        _ => {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o400)).unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_no_file_or_empty_in_a_blobs_place_is_missing_until_a_push_replaces_it() {
    for number in 0..3 {
        let data = Data::new();
        let server = Server::start(&data).await;
        let digest = server.push_blob("a", b"content").await;
        server.push_blob("b", b"content").await;
        for path in [
            data.blob(&digest),
            data.link("a", &digest),
            data.link("b", &digest),
        ] {
            displace(&path, number);
        }
        let path = format!("/v2/a/blobs/{digest}");
        for method in [reqwest::Method::HEAD, reqwest::Method::GET] {
            let answer = server.request(method, &path).send().await.unwrap();
            assert_eq!(answer.status(), 404, "{number}");
        }
        server.push_blob("a", b"content").await;
        for repository in ["a", "b"] {
            let path = format!("/v2/{repository}/blobs/{digest}");
            let get = server.get(&path).await;
            // What is wrong in a repository is taken away, or put right by a push to another.
            if repository == "a" || get.status() == 200 {
                assert_eq!(get.text().await.unwrap(), "content", "{number}");
            }
        }
        assert_eq!(scrub(&server).await.damaged, 0, "{number}");
    }
}

#[tokio::test]
async fn a_scrub_waits_for_nothing_that_is_no_file_and_takes_it_away() {
    for number in 0..3 {
        let data = Data::new();
        let server = Server::start(&data).await;
        let (manifest, digest) = server.push_image("a", "tag", b"layer").await;
        displace(&data.blob(&sha256(b"layer")), number);
        displace(&data.manifest("a", &digest), number);
        let path = format!("/v2/a/manifests/{digest}");
        assert_eq!(server.get(&path).await.status(), 404, "{number}");
        assert!(scrub(&server).await.damaged > 0, "{number}");
        assert_eq!(scrub(&server).await.damaged, 0, "{number}");
        server.push_blob("a", b"layer").await;
        let put = server.put_manifest("a", "tag", MANIFEST, &manifest).await;
        assert_eq!(put.status(), 201, "{number}");
        assert_eq!(server.get(&path).await.status(), 200, "{number}");
    }
}

#[tokio::test]
async fn an_empty_blob_whose_digest_is_that_of_nothing_is_served() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("a", b"").await;
    let get = server.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(
        (get.status().as_u16(), get.text().await.unwrap()),
        (200, String::new())
    );
}
