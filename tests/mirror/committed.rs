//! What is committed is never written again, in whatever order requests come, and what is not what its
//! digest says is never taken for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use futures_util::future::join_all;
use reqwest::{Body, Method, Response, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::store::{Limits, Store, Uploads};
use crate::support::{
    Damage, Data, INDEX, Server, assert_error, damage, header, noise, sha256, sha512,
};

/// So much that the server writes a part of it before it has the end.
const LARGE: usize = 800_000;

/// A request whose body the test sends piece by piece.
struct Slow {
    pieces: mpsc::Sender<std::io::Result<Vec<u8>>>,
    answer: JoinHandle<Response>,
}

impl Slow {
    async fn start(server: &Server, method: Method, path: &str, first: &[u8]) -> Self {
        let (pieces, receiver) = mpsc::channel(1);
        let body = futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        let request = server.request(method, path).body(Body::wrap_stream(body));
        let answer = tokio::spawn(async { request.send().await.unwrap() });
        pieces.send(Ok(first.to_vec())).await.unwrap();
        Self { pieces, answer }
    }

    /// Waits until the server has written something of this request's.
    async fn holds(self, server: &Server, location: &str, before: &str) -> Self {
        while header(&server.get(location).await, "range") == before {
            tokio::task::yield_now().await;
        }
        self
    }

    async fn end(self) -> Response {
        drop(self.pieces);
        self.answer.await.unwrap()
    }
}

/// Every file of the store whose name is a digest has that digest.
fn assert_content_is_what_its_digest_says(data: &Data) {
    for path in data.files("blobs") {
        let content = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(sha256(&content).hex(), name, "{}", path.display());
    }
}

/// Takes the mark off a file that says that it was verified.
fn unseal(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_volley_of_chunks_while_a_put_commits_never_changes_the_blob() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let mut stored = 0;
    for round in 0..200_usize {
        let content = noise(2_000 + round);
        let digest = sha256(&content);
        let location = server.begin("a").await;
        assert_eq!(server.patch(&location, None, &content).await.status(), 202);
        let commit = async {
            loop {
                let put = server.put(&location, &digest, b"").await.status();
                if put != StatusCode::CONFLICT {
                    return put;
                }
            }
        };
        let volley = (0..4).map(|_| async {
            for _ in 0..6 {
                let status = server.patch(&location, None, b"evil").await.status();
                assert!([202, 404, 409].contains(&status.as_u16()), "{status}");
            }
        });
        let (put, _) = tokio::join!(commit, join_all(volley));
        let get = server.get(&format!("/v2/a/blobs/{digest}")).await;
        if put == StatusCode::CREATED {
            stored += 1;
            assert_eq!(get.status(), 200);
            assert!(get.bytes().await.unwrap() == content, "round {round}");
        } else {
            // A chunk came first, so it was other content.
            assert_eq!((put.as_u16(), get.status().as_u16()), (400, 404));
        }
    }
    assert!(stored > 0, "no round stored anything");
    assert_content_is_what_its_digest_says(&data);
}

/// A request can find an upload that no process has open, and be overtaken while it reads the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_that_is_read_again_by_many_requests_at_once_is_opened_once() {
    let data = Data::new();
    let mut stored = 0;
    for round in 0..40_usize {
        let content = noise(300_000 + round);
        let digest = sha256(&content);
        let server = Server::start(&data).await;
        let location = server.begin("a").await;
        assert_eq!(server.patch(&location, None, &content).await.status(), 202);
        // A process of its own, as it were: it has the upload on the disk only.
        server.stop().await;
        let server = Server::start(&data).await;
        let volley = (0..6).map(|_| server.patch(&location, None, b"evil"));
        let (put, _) = tokio::join!(server.put(&location, &digest, b""), join_all(volley));
        if put.status() == StatusCode::CREATED {
            stored += 1;
        }
        assert_content_is_what_its_digest_says(&data);
        server.stop().await;
    }
    assert!(stored > 0, "no round stored anything");
}

#[tokio::test]
async fn a_request_that_found_its_upload_before_the_commit_cannot_write_after_it() {
    let data = Data::new();
    let store = Store::open(data.path(), Limits::default()).unwrap();
    let uploads = Uploads::open(&store).unwrap();
    let id = uploads.start("me", "a".into(), crate::store::Algorithm::Sha256);
    let id = id.await.unwrap();
    let digest = sha256(b"");
    let mut lease = Some(uploads.lease("me", "a", &id).unwrap());
    // Polled far enough to have found it, and no further.
    let mut late = Box::pin(uploads.cancel("me", "a", &id));
    assert!(futures_util::poll!(&mut late).is_pending());
    // The upload was given up before the commit began.
    let commit = lease.take().unwrap();
    let wanted = digest.clone();
    let committed = store.run(move |store| commit.commit(store, "a", &wanted));
    assert!(committed.await.is_err());
    late.await.unwrap();
    assert!(uploads.lease("me", "a", &id).is_err());
    assert!(!store.has_blob("a", &digest).unwrap());
    assert_eq!(data.files("blobs").len() + data.files("uploads").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_puts_to_one_upload_one_commits_and_the_others_write_nothing() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for round in 0..40_usize {
        let content = noise(5_000 + round);
        let (right, wrong) = (sha256(&content), sha256(b"wrong"));
        let location = server.begin("a").await;
        server.patch(&location, None, &content).await;
        let (one, two, three) = tokio::join!(
            server.put(&location, &right, b""),
            server.put(&location, &right, b""),
            server.put(&location, &wrong, b"more"),
        );
        let of = [one, two, three].map(|response| response.status().as_u16());
        // The second of the same PUTs is answered as the first.
        assert!(of[2] != 201);
        for status in of {
            assert!([201, 400, 404, 409].contains(&status), "{of:?}");
        }
        let status = server.get(&location).await.status();
        assert_eq!(status, 404, "{of:?}");
    }
    assert_content_is_what_its_digest_says(&data);
    assert_eq!(data.files("uploads").len(), 0);
}

#[tokio::test]
async fn an_upload_that_is_given_up_ends_the_request_that_writes_to_it() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let first = noise(LARGE);
    for (method, query) in [
        (Method::PATCH, String::new()),
        (Method::PUT, format!("?digest={}", sha256(&first))),
    ] {
        let location = server.begin("a").await;
        let path = format!("{location}{query}");
        let slow = Slow::start(&server, method, &path, &first).await;
        let slow = slow.holds(&server, &location, "0-0").await;
        assert_eq!(server.delete(&location).await.status(), 204);
        // Without its end: a client that is gone does not hold it for ever.
        let answer = slow.answer.await.unwrap();
        assert_error(answer, 404, "BLOB_UPLOAD_UNKNOWN").await;
        for response in [
            server.get(&location).await,
            server.delete(&location).await,
            server.patch(&location, None, b"x").await,
            server.put(&location, &sha256(&first), b"").await,
        ] {
            assert_error(response, 404, "BLOB_UPLOAD_UNKNOWN").await;
        }
        assert_eq!(data.files("uploads").len() + data.files("blobs").len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_is_either_given_up_or_committed() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for round in 0..60_usize {
        let content = noise(3_000 + round);
        let digest = sha256(&content);
        let location = server.begin("a").await;
        let (put, delete) = tokio::join!(
            server.put(&location, &digest, &content),
            server.delete(&location)
        );
        let outcome = (put.status().as_u16(), delete.status().as_u16());
        assert!([(201, 404), (404, 204)].contains(&outcome), "{outcome:?}");
        let there = server.get(&format!("/v2/a/blobs/{digest}")).await;
        assert_eq!(there.status() == 200, outcome.0 == 201);
    }
    assert_content_is_what_its_digest_says(&data);
    assert_eq!(data.files("uploads").len(), 0);
}

#[tokio::test]
async fn of_two_chunks_at_once_the_second_is_told_where_to_go_on() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    let content = noise(LARGE);
    assert_eq!(
        server.patch(&location, None, &content[..5]).await.status(),
        202
    );
    let slow = Slow::start(&server, Method::PATCH, &location, &content[5..]).await;
    let slow = slow.holds(&server, &location, "0-4").await;
    let last = |response: &Response| -> usize { header(response, "range")[2..].parse().unwrap() };
    let mut so_far = last(&server.get(&location).await);
    for range in ["5-6", "0-1", "70000000-70000001"] {
        let request = server.request(Method::PATCH, &location);
        let request = request.header("content-range", range).body("xx");
        let response = request.send().await.unwrap();
        // The first goes on to arrive meanwhile.
        let there = last(&response);
        assert!((so_far..content.len()).contains(&there));
        so_far = there;
        assert_eq!(header(&response, "location"), location);
        assert_error(response, 416, "BLOB_UPLOAD_INVALID").await;
    }
    // Without a place of its own it cannot be told where to go on.
    let response = server.patch(&location, None, b"xx").await;
    assert_error(response, 409, "BLOB_UPLOAD_INVALID").await;
    let response = slow.end().await;
    assert_eq!(response.status(), 202);
    assert_eq!(last(&response), content.len() - 1);
    let response = server.put(&location, &sha256(&content), b"").await;
    assert_eq!(response.status(), 201);
}

#[tokio::test]
async fn an_upload_that_could_not_be_committed_can_be_committed_again() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    let digest = sha256(b"content");
    let blobs = data.path().join("blobs/sha256");
    fs::write(&blobs, "in the way").unwrap();
    let response = server.put(&location, &digest, b"content").await;
    assert_error(response, 500, "UNKNOWN").await;
    fs::remove_file(&blobs).unwrap();
    assert_eq!(header(&server.get(&location).await, "range"), "0-6");
    let response = server.put(&location, &digest, b"").await;
    assert_eq!(response.status(), 201);
    let blob = server.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(blob.text().await.unwrap(), "content");
}

#[tokio::test]
async fn a_push_of_the_right_content_mends_a_damaged_blob_for_all_repositories() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for (sealed, kind) in [
        (true, Damage::Lengthen),
        (true, Damage::Flip),
        (false, Damage::Lengthen),
    ] {
        let content = format!("content {sealed} {kind:?}").into_bytes();
        let digest = server.push_blob("a", &content).await;
        server.push_blob("b/c", &content).await;
        let path = data.blob(&digest);
        damage(&path, kind);
        if !sealed {
            unseal(&path);
        }
        let location = server.begin("d").await;
        let response = server.put(&location, &digest, &content).await;
        assert_eq!(response.status(), 201);
        for repository in ["a", "b/c", "d"] {
            let blob = server
                .get(&format!("/v2/{repository}/blobs/{digest}"))
                .await;
            assert_eq!(blob.status(), 200, "{repository}");
            assert!(blob.bytes().await.unwrap() == content, "{repository}");
        }
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 4);
        for repository in ["a", "b/c", "d"] {
            let path = format!("/v2/{repository}/blobs/{digest}");
            assert_eq!(server.delete(&path).await.status(), 202);
        }
    }
    assert_eq!(data.files("blobs").len() + data.files("tmp").len(), 0);
}

#[tokio::test]
async fn a_blob_that_was_never_verified_is_read_before_it_is_given_or_mounted() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for ask in ["GET", "HEAD", "mount"] {
        let right = server
            .push_blob("a", format!("right {ask}").as_bytes())
            .await;
        let wrong = server
            .push_blob("a", format!("wrong {ask}").as_bytes())
            .await;
        for (digest, sound) in [(right, true), (wrong, false)] {
            let path = data.blob(&digest);
            if !sound {
                damage(&path, Damage::Lengthen);
            }
            unseal(&path);
            let blob = format!("/v2/a/blobs/{digest}");
            let (response, good, bad) = match ask {
                "GET" => (server.get(&blob).await, 200, 404),
                "HEAD" => (server.head(&blob).await, 200, 404),
                _ => {
                    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
                    (server.post(&mount, "").await, 201, 202)
                }
            };
            assert_eq!(response.status(), if sound { good } else { bad }, "{ask}");
            // Once is enough.
            assert_eq!(path.exists(), sound);
            if sound {
                let mode = fs::metadata(&path).unwrap().permissions();
                assert!(mode.readonly());
            }
        }
    }
}

#[tokio::test]
async fn a_manifest_does_not_refer_to_a_blob_that_is_damaged() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let (manifest, _) = server.push_image("a", "tag", b"layer").await;
    let path = data.blob(&sha256(b"layer"));
    damage(&path, Damage::Lengthen);
    unseal(&path);
    let response = server
        .put_manifest("a", "other", crate::support::MANIFEST, &manifest)
        .await;
    assert_error(response, 400, "MANIFEST_BLOB_UNKNOWN").await;
}

#[tokio::test]
async fn a_damaged_manifest_is_not_given_and_a_push_mends_it() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": []})).unwrap();
    let digest = sha256(&content);
    for reference in ["tag".to_owned(), digest.to_string()] {
        let put = server.put_manifest("a", "tag", INDEX, &content).await;
        assert_eq!(put.status(), 201);
        damage(&data.manifest("a", &digest), Damage::Lengthen);
        let path = format!("/v2/a/manifests/{reference}");
        assert_error(server.get(&path).await, 404, "MANIFEST_UNKNOWN").await;
        let put = server.put_manifest("a", &reference, INDEX, &content).await;
        assert_eq!(put.status(), 201);
        assert_eq!(server.get(&path).await.bytes().await.unwrap(), content);
    }
    // It can be deleted too.
    damage(&data.manifest("a", &digest), Damage::Lengthen);
    let delete = server.delete(&format!("/v2/a/manifests/{digest}")).await;
    assert_eq!(delete.status(), 202);
}

#[tokio::test]
async fn a_tag_that_cannot_be_read_can_be_set_again() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": []})).unwrap();
    server.put_manifest("a", "tag", INDEX, &content).await;
    let path = data.path().join("repositories/a/_tags/tag");
    fs::write(&path, "{\"dig").unwrap();
    assert_error(server.get("/v2/a/manifests/tag").await, 500, "UNKNOWN").await;
    let put = server.put_manifest("a", "tag", INDEX, &content).await;
    assert_eq!(put.status(), 201);
    assert_eq!(server.get("/v2/a/manifests/tag").await.status(), 200);
}

/// The states that a crash can leave in the middle of a mend: some repositories have the new file, the
/// blob itself is still the old one.
#[tokio::test]
async fn a_crash_while_a_blob_is_mended_leaves_what_the_next_push_mends() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("a", b"content").await;
    server.push_blob("b", b"content").await;
    damage(&data.blob(&digest), Damage::Lengthen);
    let link = data.link("a", &digest);
    fs::remove_file(&link).unwrap();
    fs::write(&link, "content").unwrap();
    server.stop().await;
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    let response = server.put(&location, &digest, b"content").await;
    assert_eq!(response.status(), 201);
    for repository in ["a", "b"] {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let get = server.get(&path).await;
        assert_eq!(get.text().await.unwrap(), "content", "{repository}");
        assert_eq!(server.delete(&path).await.status(), 202);
    }
    assert_eq!(data.files("blobs").len(), 0);
}

#[tokio::test]
async fn a_blob_that_was_committed_cannot_be_opened_for_writing_by_others() {
    let data = Data::new();
    let server = Server::start(&data).await;
    server.push_blob("a", b"posted").await;
    let location = server.begin("a").await;
    let digest = sha512(b"put");
    let response = server.put(&location, &digest, b"put").await;
    assert_eq!(response.status(), 201);
    let files = data.files("blobs");
    assert_eq!(files.len(), 2);
    for path in files {
        let metadata = fs::metadata(&path).unwrap();
        assert!(metadata.permissions().readonly(), "{}", path.display());
    }
}
