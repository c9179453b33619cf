//! What a disk or another program damaged is given to no client as a whole, and what is not damaged is read once.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use futures_util::future::join_all;
use reqwest::{Client, Response};
use serde_json::json;

use crate::misbehaving::Misbehaving;
use crate::store::Digest;
use crate::support::{
    Damage, Data, LONG, MANIFEST, Server, assert_error, damage, descriptor, image, noise, provider,
    sha256, until,
};

const MIB: usize = 1024 * 1024;
const KINDS: [Damage; 4] = [Damage::Flip, Damage::Cut, Damage::Lengthen, Damage::Zero];

/// A client of each version of HTTP.
fn clients() -> [Client; 2] {
    provider();
    let builder = || Client::builder().no_proxy();
    let one = builder().http1_only().build().unwrap();
    let two = builder().http2_prior_knowledge().build().unwrap();
    [one, two]
}

async fn get(client: &Client, server: &Server, path: &str, range: Option<&str>) -> Response {
    let request = client.get(format!("{}{path}", server.url()));
    let request = match range {
        Some(range) => request.header("range", range),
        None => request,
    };
    request.send().await.unwrap()
}

fn blob_path(digest: &Digest) -> String {
    format!("/v2/a/blobs/{digest}")
}

/// How many bytes were read because something was asked for.
fn read(server: &Server) -> u64 {
    server.registry().store.checked().read()
}

fn found_damaged(server: &Server) -> u64 {
    server.registry().store.checked().damaged()
}

/// The same store as another process finds it.
async fn restarted(server: Server, data: &Data) -> Server {
    server.stop().await;
    Server::start(data).await
}

#[tokio::test]
async fn a_damaged_blob_is_not_here_until_it_is_pushed_again() {
    let content = noise(20_000);
    for client in clients() {
        for kind in KINDS {
            let data = Data::new();
            let mut server = Server::start(&data).await;
            for range in [
                None,
                Some("bytes=0-99"),
                Some("bytes=19000-"),
                Some("bytes=-1"),
            ] {
                let digest = server.push_blob("a", &content).await;
                let path = blob_path(&digest);
                let whole = get(&client, &server, &path, None).await;
                assert!(whole.bytes().await.unwrap() == content);
                damage(&data.blob(&digest), kind);
                let answer = get(&client, &server, &path, range).await;
                assert_error(answer, 404, "BLOB_UNKNOWN").await;
                assert_eq!(found_damaged(&server), 1, "{kind:?} {range:?}");
                assert_eq!(data.files("blobs").len(), 0);
                server = restarted(server, &data).await;
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_blob_that_the_upstream_has_is_right_at_once() {
    let content = noise(20_000);
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let digest = upstream.put_blob("a", &content);
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let path = blob_path(&digest);
    for client in clients() {
        for kind in KINDS {
            for (range, part) in [
                (None, &content[..]),
                (Some("bytes=0-99"), &content[..100]),
                (Some("bytes=19000-"), &content[19_000..]),
            ] {
                let whole = get(&client, &mirror, &path, None).await;
                assert!(whole.bytes().await.unwrap() == content);
                damage(&here.blob(&digest), kind);
                upstream.forget_asked();
                let answer = get(&client, &mirror, &path, range).await;
                assert!(answer.bytes().await.unwrap() == *part, "{kind:?} {range:?}");
                assert_eq!(upstream.asked("GET ").len(), 1, "{kind:?} {range:?}");
                let before = read(&mirror);
                let answer = get(&client, &mirror, &path, range).await;
                assert!(answer.bytes().await.unwrap() == *part);
                assert_eq!(read(&mirror), before);
                assert_eq!(upstream.asked("GET ").len(), 1);
            }
        }
    }
}

#[tokio::test]
async fn a_long_damaged_blob_is_cut_before_its_end() {
    let content = noise(MIB).repeat(17);
    let [one, two] = clients();
    for (client, kind) in [
        (&one, Damage::Flip),
        (&two, Damage::Flip),
        (&one, Damage::Lengthen),
        (&two, Damage::Cut),
        (&two, Damage::Zero),
    ] {
        let data = Data::new();
        let server = Server::start(&data).await;
        let digest = server.push_blob("a", &content).await;
        let path = blob_path(&digest);
        // Half of it is not long.
        damage(&data.blob(&digest), kind);
        let answer = get(client, &server, &path, None).await;
        if matches!(kind, Damage::Cut) {
            assert_error(answer, 404, "BLOB_UNKNOWN").await;
        } else {
            assert_eq!(answer.status(), 200);
            assert!(answer.bytes().await.is_err(), "{kind:?}");
        }
        let again = get(client, &server, &path, None).await;
        assert_error(again, 404, "BLOB_UNKNOWN").await;
        assert_eq!(found_damaged(&server), 1);
    }
}

/// A blob of zeros that takes no space, as another process has left it.
fn put_zeros(data: &Data, length: usize) -> Digest {
    let digest = sha256(&vec![0; length]);
    let (blob, link) = (data.blob(&digest), data.link("a", &digest));
    for path in [&blob, &link] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
    }
    let file = fs::File::create(&blob).unwrap();
    file.set_len(length as u64).unwrap();
    fs::set_permissions(&blob, Permissions::from_mode(0o400)).unwrap();
    fs::hard_link(&blob, &link).unwrap();
    digest
}

#[tokio::test]
async fn the_end_of_a_very_long_blob_waits_until_all_of_it_was_read_and_other_parts_do_not() {
    const LENGTH: usize = 257 * MIB;
    let end = format!("bytes={}-", LENGTH - 10);
    for sound in [true, false] {
        let data = Data::new();
        let server = Server::start(&data).await;
        let digest = put_zeros(&data, LENGTH);
        if !sound {
            damage(&data.blob(&digest), Damage::Flip);
        }
        let path = blob_path(&digest);
        let [one, two] = clients();
        // The work that was begun for clients that leave is gone on with.
        for client in [&one, &two].repeat(8) {
            let part = get(client, &server, &path, Some("bytes=5-9")).await;
            assert_eq!(part.status(), 206);
            assert_eq!(part.bytes().await.unwrap(), [0; 5].as_slice());
        }
        for client in [&one, &two] {
            let part = get(client, &server, &path, Some(&end)).await;
            if sound {
                assert_eq!(part.status(), 206);
                assert_eq!(part.bytes().await.unwrap(), [0; 10].as_slice());
            } else if part.status() == 206 {
                assert!(part.bytes().await.is_err());
            } else {
                assert_error(part, 404, "BLOB_UNKNOWN").await;
            }
        }
        let read = usize::try_from(read(&server)).unwrap();
        assert!((LENGTH..LENGTH + 80 * MIB).contains(&read), "{read}");
        let found = get(&one, &server, &path, Some("bytes=5-9")).await;
        assert_eq!(found.status(), if sound { 206 } else { 404 });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_parts_of_a_blob_that_was_not_read_reads_it_once() {
    let content = noise(MIB).repeat(20);
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("a", &content).await;
    let server = restarted(server, &data).await;
    let path = blob_path(&digest);
    let [one, two] = clients();
    let parts = (0..64_usize).map(async |number| {
        let client = if number % 2 == 0 { &one } else { &two };
        let start = number * 300_000;
        let range = format!("bytes={start}-{}", start + 999);
        let part = get(client, &server, &path, Some(&range)).await;
        assert_eq!(part.status(), 206);
        assert!(part.bytes().await.unwrap() == content[start..start + 1000]);
    });
    let whole = async {
        let whole = get(&one, &server, &path, None).await;
        assert!(whole.bytes().await.unwrap() == content);
    };
    tokio::join!(join_all(parts), whole);
    assert_eq!(read(&server), content.len() as u64);
    let again = get(&two, &server, &path, None).await;
    assert!(again.bytes().await.unwrap() == content);
    assert_eq!(read(&server), content.len() as u64);
}

#[tokio::test]
async fn what_has_just_been_read_is_given_without_reading_it_again() {
    let content = noise(50_000);
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let digest = upstream.put_blob("a", &content);
    upstream.put_blob("c", &content);
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let whole = async |repository: &str| {
        let path = format!("/v2/{repository}/blobs/{digest}");
        assert!(
            mirror.get(&path).await.bytes().await.unwrap() == content,
            "{repository}"
        );
    };
    // Pulled, mounted, pulled for another repository, and pushed.
    whole("a").await;
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    assert_eq!(mirror.post(&mount, "").await.status(), 201);
    mirror.push_blob("d", &content).await;
    for repository in ["a", "b", "c", "d"] {
        whole(repository).await;
    }
    // That it was used is noted once a second.
    let used = || {
        fs::metadata(here.blob(&digest))
            .unwrap()
            .modified()
            .unwrap()
    };
    let before = used();
    while used() == before {
        whole("a").await;
    }
    whole("b").await;
    assert_eq!(read(&mirror), 0);
}

#[tokio::test]
async fn a_damaged_file_of_one_repository_is_replaced_by_the_good_one() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("a", b"content").await;
    server.push_blob("b", b"content").await;
    let link = data.link("a", &digest);
    fs::remove_file(&link).unwrap();
    fs::write(&link, "damaged").unwrap();
    fs::set_permissions(&link, Permissions::from_mode(0o400)).unwrap();
    for repository in ["a", "b"] {
        let path = format!("/v2/{repository}/blobs/{digest}");
        assert_eq!(
            server.get(&path).await.text().await.unwrap(),
            "content",
            "{repository}"
        );
    }
    assert_eq!(found_damaged(&server), 1);
}

#[tokio::test]
async fn a_damaged_manifest_is_not_here_until_it_is_pushed_again() {
    for client in clients() {
        for kind in KINDS {
            let data = Data::new();
            let server = Server::start(&data).await;
            for by_tag in [true, false] {
                let (manifest, digest) = server.push_image("a", "tag", b"layer").await;
                let file = data.manifest("a", &digest);
                damage(&file, kind);
                let before = found_damaged(&server);
                let reference = if by_tag {
                    "tag".to_owned()
                } else {
                    digest.to_string()
                };
                let path = format!("/v2/a/manifests/{reference}");
                for _ in 0..2 {
                    let answer = get(&client, &server, &path, None).await;
                    assert_error(answer, 404, "MANIFEST_UNKNOWN").await;
                    assert_eq!(found_damaged(&server), before + 1, "{kind:?}");
                }
                assert!(!file.exists());
                let put = server.put_manifest("a", "tag", MANIFEST, &manifest).await;
                assert_eq!(put.status(), 201);
                let answer = get(&client, &server, &path, None).await;
                assert_eq!(answer.bytes().await.unwrap(), manifest);
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_manifest_that_the_upstream_has_is_right_at_once() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let (manifest, digest) = upstream.put_image("a", "tag", b"layer");
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    for client in clients() {
        for kind in KINDS {
            for reference in ["tag".to_owned(), digest.to_string()] {
                let path = format!("/v2/a/manifests/{reference}");
                let answer = get(&client, &mirror, &path, None).await;
                assert_eq!(answer.bytes().await.unwrap(), manifest);
                damage(&here.manifest("a", &digest), kind);
                upstream.forget_asked();
                for _ in 0..2 {
                    let answer = get(&client, &mirror, &path, None).await;
                    assert_eq!(answer.bytes().await.unwrap(), manifest, "{kind:?}");
                }
                assert_eq!(upstream.asked("").len(), 1, "{kind:?} {reference}");
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_tag_is_asked_for_upstream() {
    for kind in KINDS {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let (manifest, _) = upstream.put_image("a", "tag", b"layer");
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        let path = "/v2/a/manifests/tag";
        assert_eq!(mirror.get(path).await.status(), 200);
        let tag = here.path().join("repositories/a/_tags/tag");
        damage(&tag, kind);
        for _ in 0..2 {
            let answer = mirror.get(path).await;
            assert_eq!(answer.bytes().await.unwrap(), manifest, "{kind:?}");
        }
        let moved = upstream.asked("GET /v2/a/manifests/tag").len();
        assert_eq!(moved, 2, "{kind:?}");
    }
}

#[tokio::test]
async fn a_damaged_entry_among_the_referrers_is_written_again() {
    for kind in KINDS {
        let data = Data::new();
        let server = Server::start(&data).await;
        let (subject, digest) = server.push_image("a", "tag", b"layer").await;
        let fields = json!({"subject": descriptor(MANIFEST, &subject)});
        let signature = image(b"{}", b"layer", &fields);
        let put = server.put_manifest("a", "sig", MANIFEST, &signature).await;
        assert_eq!(put.status(), 201);
        let path = format!("/v2/a/referrers/{digest}");
        let before = server.get(&path).await.text().await.unwrap();
        assert!(before.contains(sha256(&signature).hex()));
        let entries = data.files("repositories/a/_referrers");
        damage(&entries[0], kind);
        for _ in 0..2 {
            let after = server.get(&path).await;
            assert_eq!(after.text().await.unwrap(), before, "{kind:?}");
        }
        assert_eq!(found_damaged(&server), 1, "{kind:?}");
    }
}

/// What an older version took and this one does not is no damage: it is not given, and not removed either.
#[tokio::test]
async fn a_manifest_that_is_what_its_digest_says_is_not_removed() {
    let data = Data::new();
    let server = Server::start(&data).await;
    server.push_image("a", "tag", b"layer").await;
    let strange = image(b"{}", b"layer", &json!({"manifests": []}));
    let digest = sha256(&strange);
    let file = data.manifest("a", &digest);
    fs::write(&file, &strange).unwrap();
    let answer = server.get(&format!("/v2/a/manifests/{digest}")).await;
    assert_error(answer, 404, "MANIFEST_UNKNOWN").await;
    assert_eq!(found_damaged(&server), 0);
    assert!(file.exists());
    let found = server.registry().store.scrub(1 << 30).await.unwrap();
    assert_eq!(found.damaged, 0);
    assert!(file.exists());
}

#[tokio::test]
async fn a_check_that_no_client_waits_for_ends() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = put_zeros(&data, 257 * MIB);
    let [client, _] = clients();
    let part = get(&client, &server, &blob_path(&digest), Some("bytes=0-4")).await;
    part.bytes().await.unwrap();
    until("it ends", || server.registry().store.running_checks() == 0).await;
    assert!(read(&server) < 257 * MIB as u64);
}
