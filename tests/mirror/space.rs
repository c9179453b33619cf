//! What the store takes of the disk, and what it gives back: by what is used, never by what is needed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::store::{Collection, Digest, Freed, Limits, Store};
use crate::support::{
    Data, INDEX, MANIFEST, Server, assert_error, descriptor, header, image, noise, sha256,
};

const LONG: Duration = Duration::from_secs(60 * 60);
const MIB: u64 = 1024 * 1024;

/// Everything that nothing refers to, however new.
const ALL: Collection = Collection {
    unreferenced: Duration::ZERO,
    untagged: Some(Duration::ZERO),
};

/// What the files of the store take, as `du` says it: each once, however many names it has.
fn du(data: &Data) -> u64 {
    let mut seen = HashSet::new();
    let files = ["blobs", "repositories", "tmp", "uploads"].map(|part| data.files(part));
    let metadata = files
        .iter()
        .flatten()
        .map(|path| fs::metadata(path).unwrap());
    let new = metadata.filter(|metadata| seen.insert(metadata.ino()));
    new.map(|metadata| metadata.blocks() * 512).sum()
}

async fn collect(server: &Server, collection: Collection) -> Freed {
    let store = &server.registry().store;
    let collected = store.run(move |store| store.collect(collection));
    collected.await.unwrap()
}

async fn status(server: &Server, path: &str) -> u16 {
    server.get(path).await.status().as_u16()
}

/// An image of one layer of a MiB, and its path.
async fn push(server: &Server, repository: &str, tag: &str, seed: usize) -> (Digest, Digest) {
    let layer = noise(usize::try_from(MIB).unwrap() + seed);
    let (_, digest) = server.push_image(repository, tag, &layer).await;
    (digest, sha256(&layer))
}

#[tokio::test]
async fn what_a_deleted_manifest_referred_to_is_freed_and_nothing_else() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let empty = du(&data);
    let (kept, kept_layer) = push(&server, "a", "kept", 1).await;
    let with_one = du(&data);
    let (gone, gone_layer) = push(&server, "a", "gone", 2).await;
    // Another repository has the first one's layer too, and no manifest for it.
    let mount = format!("/v2/b/blobs/uploads/?mount={kept_layer}&from=a");
    assert_eq!(server.post(&mount, "").await.status(), 201);
    assert!(du(&data) >= empty + 2 * MIB);
    let delete = server.delete(&format!("/v2/a/manifests/{gone}")).await;
    assert_eq!(delete.status(), 202);
    let before = du(&data);
    let freed = collect(&server, ALL).await;
    // The layer in `a`, and the one in `b`, whose content stays.
    assert_eq!((freed.manifests, freed.blobs), (0, 2));
    assert!(freed.bytes >= MIB, "{freed:?}");
    assert_eq!(du(&data), before - freed.bytes);
    assert!(du(&data) <= with_one + 64 * 1024);
    for (path, expected) in [
        (format!("/v2/a/manifests/{kept}"), 200),
        (format!("/v2/a/blobs/{kept_layer}"), 200),
        (format!("/v2/a/blobs/{}", sha256(b"{}")), 200),
        (format!("/v2/a/blobs/{gone_layer}"), 404),
        (format!("/v2/b/blobs/{kept_layer}"), 404),
    ] {
        assert_eq!(status(&server, &path).await, expected, "{path}");
    }
    assert_eq!(collect(&server, ALL).await, Freed::default());
}

#[tokio::test]
async fn a_manifest_without_a_tag_expires_and_what_a_tag_leads_to_does_not() {
    let data = Data::new();
    let server = Server::start(&data).await;
    server.push_blob("a", b"{}").await;
    let put = async |reference: &str, media_type: &str, content: &[u8]| {
        let put = server.put_manifest("a", reference, media_type, content);
        assert_eq!(put.await.status(), 201);
        sha256(content)
    };
    let child = image(b"{}", b"{}", &json!({"annotations": {"a": "child"}}));
    let child_digest = put(&sha256(&child).to_string(), MANIFEST, &child).await;
    let index = json!({"schemaVersion": 2, "manifests": [descriptor(MANIFEST, &child)]});
    let index = serde_json::to_vec(&index).unwrap();
    put("tag", INDEX, &index).await;
    // A signature of the child leads nowhere, and no tag leads to it.
    let signature = json!({"subject": descriptor(MANIFEST, &child)});
    let signature = image(b"{}", b"{}", &signature);
    let signed = put(&sha256(&signature).to_string(), MANIFEST, &signature).await;
    let stray = image(b"{}", b"{}", &json!({"annotations": {"a": "stray"}}));
    let stray_digest = put("other", MANIFEST, &stray).await;
    assert_eq!(collect(&server, ALL).await, Freed::default());
    let untag = server.delete("/v2/a/manifests/other").await;
    assert_eq!(untag.status(), 202);
    let new = Collection {
        untagged: Some(LONG),
        ..ALL
    };
    let never = Collection {
        untagged: None,
        ..ALL
    };
    for collection in [new, never] {
        assert_eq!(collect(&server, collection).await, Freed::default());
    }
    assert_eq!(collect(&server, ALL).await.manifests, 1);
    let path = |digest: &Digest| format!("/v2/a/manifests/{digest}");
    assert_eq!(status(&server, &path(&stray_digest)).await, 404);
    for digest in [&child_digest, &signed, &sha256(&index)] {
        assert_eq!(status(&server, &path(digest)).await, 200);
    }
    let delete = server.delete(&path(&sha256(&index))).await;
    assert_eq!(delete.status(), 202);
    assert_eq!(collect(&server, ALL).await.manifests, 2);
    assert_eq!(data.files("blobs").len(), 0);
}

#[tokio::test]
async fn nothing_is_freed_where_a_manifest_cannot_be_read() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let (digest, layer) = push(&server, "a", "tag", 3).await;
    let path = data.manifest("a", &digest);
    let content = fs::read(&path).unwrap();
    fs::write(&path, &content[..20]).unwrap();
    assert_eq!(collect(&server, ALL).await, Freed::default());
    fs::write(&path, content).unwrap();
    assert_eq!(status(&server, &format!("/v2/a/blobs/{layer}")).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pushes_and_collections_at_once_never_lose_what_a_manifest_refers_to() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let collection = Collection {
        // Shorter than a push takes only if the machine stands still for as long.
        unreferenced: Duration::from_secs(30),
        untagged: Some(Duration::from_secs(30)),
    };
    let layers: Vec<Vec<u8>> = (0..4).map(|number| noise(20_000 + number)).collect();
    server.push_blob("a", b"{}").await;
    for layer in &layers {
        server.push_blob("a", layer).await;
    }
    let pushes = async |worker: usize| {
        for round in 0..12 {
            let layer = &layers[worker];
            // Old, as if it had not been used for a day: the worst moment to rely on it.
            let link = data.link("a", &sha256(layer));
            if let Ok(file) = File::open(&link) {
                let old = SystemTime::now() - 24 * LONG;
                file.set_modified(old).unwrap();
            }
            let blob = format!("/v2/a/blobs/{}", sha256(layer));
            if server.head(&blob).await.status() == StatusCode::NOT_FOUND {
                server.push_blob("a", layer).await;
            }
            let tag = format!("{worker}");
            let manifest = image(
                b"{}",
                layer,
                &json!({"annotations": {"n": format!("{worker} {round}")}}),
            );
            let put = server.put_manifest("a", &tag, MANIFEST, &manifest).await;
            assert_eq!(put.status(), 201);
            let get = server.get(&blob).await;
            assert_eq!(get.status(), 200);
            assert!(get.bytes().await.unwrap() == *layer);
            let delete = format!("/v2/a/manifests/{}", sha256(&manifest));
            assert_eq!(server.delete(&delete).await.status(), 202);
        }
    };
    let workers = async {
        join_all((0..4).map(pushes)).await;
    };
    let collector = async {
        loop {
            collect(&server, collection).await;
        }
    };
    tokio::select! {
        () = workers => {}
        () = collector => {}
    }
}

/// A mirror with room for this many MiB, and its upstream with 12 images of one.
async fn small(data: &Data, there: &Data, mib: u64) -> (Server, Server, Vec<(Digest, Digest)>) {
    let upstream = Server::start(there).await;
    let mut images = Vec::new();
    for number in 0..12 {
        images.push(push(&upstream, "lib/x", &format!("t{number}"), number).await);
    }
    let limits = Limits {
        max_size: Some(mib * MIB),
        min_free: 0,
    };
    let mirror = Server::mirror_within(data, &upstream.url(), LONG, limits).await;
    (mirror, upstream, images)
}

async fn pull(mirror: &Server, number: usize, layer: &Digest) {
    let manifest = mirror.get(&format!("/v2/lib/x/manifests/t{number}")).await;
    assert_eq!(manifest.status(), 200);
    for digest in [&sha256(b"{}"), layer] {
        let blob = mirror.get(&format!("/v2/lib/x/blobs/{digest}")).await;
        let content = blob.bytes().await.unwrap();
        assert_eq!(sha256(&content), *digest);
    }
}

async fn keep_within(mirror: &Server) {
    let store = mirror.registry().store.clone();
    store.run(Store::keep_within).await.unwrap();
}

#[tokio::test]
async fn the_store_stays_within_its_limit_and_what_was_used_least_lately_goes() {
    let (data, there) = (Data::new(), Data::new());
    let (mirror, _upstream, images) = small(&data, &there, 6).await;
    // What is pushed here cannot be had again.
    let (own, own_layer) = push(&mirror, "own", "mine", 100).await;
    let link = |digest: &Digest| data.link("lib/x", digest);
    for (number, (_, layer)) in images.iter().enumerate() {
        pull(&mirror, number, layer).await;
        // One a minute, but the first is used again and again.
        let minutes = |count: usize| Duration::from_secs(60 * u64::try_from(count).unwrap());
        let used = SystemTime::now() - minutes(100 - number);
        File::open(link(layer)).unwrap().set_modified(used).unwrap();
        if let Ok(first) = File::open(link(&images[0].1)) {
            first.set_modified(used).unwrap();
        }
        keep_within(&mirror).await;
        assert!(du(&data) <= 6 * MIB + MIB / 2, "{} at {number}", du(&data));
    }
    let there_is = images.iter().map(|(_, layer)| link(layer).exists());
    let there_is: Vec<bool> = there_is.collect();
    assert!(there_is[0], "{there_is:?}");
    assert!(there_is[11], "{there_is:?}");
    assert!(there_is[1..7].iter().all(|is| !is), "{there_is:?}");
    assert_eq!(
        status(&mirror, &format!("/v2/own/manifests/{own}")).await,
        200
    );
    assert_eq!(
        status(&mirror, &format!("/v2/own/blobs/{own_layer}")).await,
        200
    );
    // What went is pulled again.
    pull(&mirror, 1, &images[1].1).await;
}

/// Nothing else makes room here, as if it came too late.
#[tokio::test]
async fn what_is_pulled_makes_room_itself_where_the_store_is_over_its_limit_by_a_tenth() {
    let (data, there) = (Data::new(), Data::new());
    let (mirror, _upstream, images) = small(&data, &there, 4).await;
    let (own, _) = push(&mirror, "own", "mine", 100).await;
    for (number, (_, layer)) in images.iter().enumerate() {
        pull(&mirror, number, layer).await;
        assert!(du(&data) <= 6 * MIB, "{} at {number}", du(&data));
    }
    pull(&mirror, 0, &images[0].1).await;
    let own = format!("/v2/own/manifests/{own}");
    assert_eq!(status(&mirror, &own).await, 200);
}

#[tokio::test]
async fn what_was_pushed_stays_even_if_it_alone_is_too_much() {
    let (data, there) = (Data::new(), Data::new());
    let (mirror, _upstream, images) = small(&data, &there, 2).await;
    pull(&mirror, 0, &images[0].1).await;
    for number in 0..3 {
        push(&mirror, "own", &format!("t{number}"), 100 + number).await;
        // A blob that no manifest refers to yet: its push goes on.
        mirror.push_blob("own", &noise(10_000 + number)).await;
    }
    // What an own manifest refers to counts as its own, wherever its content came from.
    let manifest = image(b"{}", &noise(usize::try_from(MIB).unwrap()), &json!({}));
    let put = mirror
        .put_manifest("lib/x", "own", MANIFEST, &manifest)
        .await;
    assert_eq!(put.status(), 201);
    keep_within(&mirror).await;
    for number in 0..3 {
        let manifest = mirror.get(&format!("/v2/own/manifests/t{number}")).await;
        assert_eq!(manifest.status(), 200);
        let loose = sha256(&noise(10_000 + number));
        assert_eq!(
            status(&mirror, &format!("/v2/own/blobs/{loose}")).await,
            200
        );
    }
    assert!(data.link("lib/x", &images[0].1).exists());
}

#[tokio::test]
async fn a_blob_that_is_being_sent_is_not_evicted() {
    let (data, there) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    let layer = noise(24 * usize::try_from(MIB).unwrap());
    upstream.push_blob("a", &layer).await;
    let limits = Limits {
        max_size: Some(MIB),
        min_free: 0,
    };
    let mirror = Server::mirror_within(&data, &upstream.url(), LONG, limits).await;
    let path = format!("/v2/a/blobs/{}", sha256(&layer));
    assert!(mirror.get(&path).await.bytes().await.unwrap() == layer);
    let mut slow = mirror.get(&path).await;
    let first = slow.chunk().await.unwrap().unwrap();
    keep_within(&mirror).await;
    assert_eq!(data.files("blobs").len(), 1);
    let mut rest = first.to_vec();
    while let Some(piece) = slow.chunk().await.unwrap() {
        rest.extend(piece);
    }
    assert!(rest == layer);
    drop(slow);
    // The body is dropped when the server has seen its end.
    while !data.files("blobs").is_empty() {
        keep_within(&mirror).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn on_a_full_disk_what_is_here_is_served_and_a_push_is_refused() {
    let (data, there) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    push(&upstream, "a", "tag", 5).await;
    let mirror = Server::mirror(&data, &upstream.url(), Duration::ZERO).await;
    let get = mirror.get("/v2/a/manifests/tag").await;
    assert_eq!(get.status(), 200);
    mirror.stop().await;
    let full = Limits {
        max_size: None,
        min_free: u64::MAX / 2,
    };
    let mirror = Server::mirror_within(&data, &upstream.url(), Duration::ZERO, full).await;
    assert_eq!(mirror.registry().store.disk().problem(), None);
    // It is asked for again, found to be the same, and that is noted without taking space.
    for _ in 0..2 {
        let again = mirror.get("/v2/a/manifests/tag").await;
        assert_eq!(again.status(), 200);
        assert_eq!(header(&again, "content-type"), MANIFEST);
    }
    let response = mirror.post("/v2/a/blobs/uploads/?digest=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "").await;
    assert_eq!(response.status(), 201, "it takes nothing");
    let digest = sha256(b"content");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let response = mirror.post(&path, "content").await;
    assert_error(response, 507, "UNAVAILABLE").await;
    let location = mirror.begin("a").await;
    let request = mirror.request(Method::PATCH, &location).body("content");
    assert_error(request.send().await.unwrap(), 507, "UNAVAILABLE").await;
    let put = mirror.put_manifest("a", "own", INDEX, br#"{"schemaVersion":2,"manifests":[]}"#);
    assert_error(put.await, 507, "UNAVAILABLE").await;
    assert!(mirror.registry().store.disk().problem().is_some());
    assert_eq!(data.files("tmp").len(), 0);
}

#[tokio::test]
async fn on_a_full_disk_what_is_pulled_streams_on_and_is_not_kept() {
    let (data, there) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    let layer = noise(24 * usize::try_from(MIB).unwrap());
    let (manifest, _) = upstream.push_image("a", "tag", &layer).await;
    let mirror = Server::mirror(&data, &upstream.url(), Duration::ZERO).await;
    let disk = mirror.registry().store.disk();
    let path = format!("/v2/a/blobs/{}", sha256(&layer));
    // From its beginning, and amid its body.
    disk.set_min_free(u64::MAX / 2);
    for _ in 0..2 {
        let get = mirror.get("/v2/a/manifests/tag").await;
        assert_eq!(get.status(), 200);
        assert!(get.bytes().await.unwrap() == manifest);
        assert!(mirror.get(&path).await.bytes().await.unwrap() == layer);
    }
    assert!(disk.problem().is_some());
    assert_eq!(
        data.files("blobs").len() + data.files("repositories").len(),
        0
    );
    disk.set_min_free(0);
    let mut get = mirror.get(&path).await;
    let mut content = get.chunk().await.unwrap().unwrap().to_vec();
    disk.set_min_free(u64::MAX / 2);
    while let Some(piece) = get.chunk().await.unwrap() {
        content.extend(piece);
    }
    assert!(content == layer);
    // It is kept again as soon as there is room.
    disk.set_min_free(0);
    assert!(mirror.get(&path).await.bytes().await.unwrap() == layer);
    while data.files("blobs").is_empty() {
        assert!(mirror.get(&path).await.bytes().await.unwrap() == layer);
    }
    assert_eq!(disk.problem(), None);
}

#[tokio::test]
async fn a_full_disk_makes_room_of_what_can_be_had_again() {
    let (data, there) = (Data::new(), Data::new());
    let upstream = Server::start(&there).await;
    push(&upstream, "a", "tag", 5).await;
    let mirror = Server::mirror(&data, &upstream.url(), LONG).await;
    let (_, layer) = push(&mirror, "own", "tag", 6).await;
    let manifest = mirror.get("/v2/a/manifests/tag").await;
    assert_eq!(manifest.status(), 200);
    let made = mirror.registry().store.run(Store::make_room).await.unwrap();
    assert!(made);
    assert_eq!(
        status(&mirror, &format!("/v2/own/blobs/{layer}")).await,
        200
    );
    // The manifest of `a` was all that could go.
    let made = mirror.registry().store.run(Store::make_room).await.unwrap();
    assert!(!made);
    assert_eq!(status(&mirror, "/v2/a/manifests/tag").await, 200);
}
