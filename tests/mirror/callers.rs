//! No caller stops the others, and what a client leaves behind ends with it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::store::{Callers, MAX_MANIFEST, Memory, Store, StoreError};
use crate::support::{
    CALLER, Data, INDEX, MANIFEST, Server, assert_error, descriptor, header, noise, sha256,
};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn send(server: &Server, caller: &str, method: Method, path: &str, body: &str) -> Response {
    let request = server.request(method, path).header(CALLER, caller);
    request.body(body.to_owned()).send().await.unwrap()
}

/// Work that waits for the test.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let (open, changed) = &*self.0;
        let _open = changed
            .wait_while(open.lock().unwrap(), |open| !*open)
            .unwrap();
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Before: 720 pushes with 1,699 tags each, or 600 catalogues that no client waited for, had all 512
/// threads for 30 to 150 s.
#[tokio::test]
async fn one_callers_work_leaves_the_threads_to_the_others_and_ends_with_its_client() {
    let data = Data::new();
    let server = Server::start(&data).await;
    server.push_blob("a", b"layer").await;
    let store = server.registry().store.clone();
    let callers = Callers::default();
    let (gate, begun) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let tasks = (0..600).map(|_| {
        let (store, caller) = (store.clone(), callers.caller("many", "many"));
        let (gate, begun) = (gate.clone(), Arc::clone(&begun));
        tokio::spawn(async move {
            let work = move |_: &Store| {
                begun.fetch_add(1, Ordering::SeqCst);
                gate.wait();
                Ok::<_, StoreError>(())
            };
            caller.scope(store.run(work)).await
        })
    });
    let tasks: Vec<_> = tasks.collect();
    while begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let path = format!("/v2/a/blobs/{}", sha256(b"layer"));
    let get = tokio::time::timeout(PATIENCE, server.get(&path));
    assert_eq!(get.await.unwrap().text().await.unwrap(), "layer");
    // The clients leave: what had not begun never does, and nothing is left of them.
    for task in tasks {
        task.abort();
        let _ = task.await;
    }
    gate.open();
    while callers.count() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(begun.load(Ordering::SeqCst) <= 16, "{begun:?}");
}

#[tokio::test]
async fn requests_that_were_given_up_leave_nothing() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let path = format!("/v2/a/blobs/{}", sha256(b"x"));
    for number in 0..200 {
        let caller = format!("caller {number}");
        let request = server.request(Method::GET, &path).header(CALLER, caller);
        let _ = tokio::time::timeout(Duration::from_micros(50 * number), request.send()).await;
    }
    while server.registry().callers.count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Before: a caller at each /64 of a site had 32 MiB, 2 GB for 30 of them.
#[tokio::test]
async fn the_memory_of_all_callers_is_bounded_and_none_has_the_last_of_it() {
    let callers = Callers::default();
    let mut held = Vec::new();
    for number in 0..12 {
        let name = format!("node {number}");
        let caller = callers.caller(&name, &name);
        while let Some(memory) = caller
            .scope(async { Memory::try_take(MAX_MANIFEST / 8) })
            .await
        {
            held.push(memory);
        }
    }
    assert!(held.len() < 256, "{}", held.len());
    let late = callers.caller("late", "late");
    let memory = late
        .scope(async { Memory::try_take(MAX_MANIFEST / 8) })
        .await;
    assert!(memory.is_some());
    drop(held);
    // The addresses of a site are many, and leave a quarter.
    let mut held = Vec::new();
    for number in 0..200 {
        let name = format!("site {number}");
        let caller = callers.caller(&name, "2001:db8::");
        while let Some(memory) = caller
            .scope(async { Memory::try_take(MAX_MANIFEST / 8) })
            .await
        {
            held.push(memory);
        }
    }
    assert!(held.len() <= 192, "{}", held.len());
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_one_caller_is_bounded_and_comes_back() {
    let callers = Callers::default();
    let one = callers.caller("one", "one");
    let mut held = Vec::new();
    for _ in 0..8 {
        let memory = one.scope(Memory::take(MAX_MANIFEST)).await.unwrap();
        held.push(memory.hold(vec![0; MAX_MANIFEST].into()));
    }
    assert!(one.scope(Memory::take(1)).await.is_err());
    assert!(one.scope(async { Memory::try_take(1) }).await.is_none());
    let other = callers.caller("other", "other");
    assert!(other.scope(Memory::take(MAX_MANIFEST)).await.is_ok());
    // A part of it is all of it, and what was taken too much is given back.
    let part = held.pop().unwrap().slice(..1);
    assert!(one.scope(Memory::take(1)).await.is_err());
    drop(part);
    let memory = one.scope(Memory::take(MAX_MANIFEST)).await.unwrap();
    let _short = memory.hold(vec![0; 10].into());
    assert!(one.scope(Memory::take(MAX_MANIFEST / 2)).await.is_ok());
}

#[tokio::test]
async fn a_manifest_with_too_many_tags_is_refused() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = br#"{"schemaVersion":2,"manifests":[]}"#;
    let digest = sha256(content);
    let reference = |count: usize| {
        let tags: Vec<String> = (0..count).map(|tag| format!("tag={tag}")).collect();
        format!("{digest}?{}", tags.join("&"))
    };
    let put = server
        .put_manifest("a", &reference(32), INDEX, content)
        .await;
    assert_eq!(put.status(), 201);
    let put = server
        .put_manifest("a", &reference(33), INDEX, content)
        .await;
    assert_error(put, 414, "UNSUPPORTED").await;
}

#[tokio::test]
async fn a_manifest_of_more_than_its_bounds_is_refused() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let one = descriptor("x/y", b"x").to_string();
    let layers = |count: usize| {
        let list = vec![one.as_str(); count].join(",");
        format!(r#"{{"schemaVersion":2,"layers":[{list}]}}"#)
    };
    let notes = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!(r#""{n}":"""#)).collect();
        format!(
            r#"{{"schemaVersion":2,"manifests":[],"annotations":{{{}}}}}"#,
            list.join(",")
        )
    };
    server.push_blob("a", b"x").await;
    for (media_type, content, status) in [
        (MANIFEST, layers(8192), 201),
        (MANIFEST, layers(8193), 400),
        (INDEX, notes(1024), 201),
        (INDEX, notes(1025), 400),
    ] {
        let put = server.put_manifest("a", "tag", media_type, content.as_bytes());
        let response = put.await;
        assert_eq!(response.status(), status);
        // An error does not say again what was sent.
        assert!(response.text().await.unwrap().len() < 1000);
    }
    // Of the blobs that are not there some are named.
    let missing: Vec<Value> = (0..500_u32)
        .map(|n| descriptor("x/y", &n.to_le_bytes()))
        .collect();
    let content = json!({"schemaVersion": 2, "layers": missing}).to_string();
    let put = server.put_manifest("a", "tag", MANIFEST, content.as_bytes());
    let errors: Value = serde_json::from_str(&put.await.text().await.unwrap()).unwrap();
    assert_eq!(errors["errors"].as_array().unwrap().len(), 100);
}

/// Before: each look at an upload that was not open read and hashed all of it.
#[tokio::test]
async fn looks_at_an_upload_read_none_of_it() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    server.stop().await;
    let id = location.rsplit('/').next().unwrap();
    let file = data.path().join("uploads").join(id).join("data");
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    // A hole: it takes no space, and minutes to hash.
    let length: u64 = 1 << 40;
    file.set_len(length).unwrap();
    let server = Server::start(&data).await;
    let looks = join_all((0..150).map(|_| server.get(&location)));
    for look in tokio::time::timeout(PATIENCE, looks).await.unwrap() {
        assert_eq!(header(&look, "range"), format!("0-{}", length - 1));
    }
    assert_eq!(server.delete(&location).await.status(), 204);
}

#[tokio::test]
async fn an_upload_is_gone_on_with_by_its_owner_alone() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let begun = send(&server, "ci", Method::POST, "/v2/a/blobs/uploads/", "").await;
    let location = header(&begun, "location");
    let put = format!("{location}?digest={}", sha256(b"content"));
    let server = {
        server.stop().await;
        Server::start(&data).await
    };
    for other in ["other", "CI", "c"] {
        for (method, path) in [
            (Method::GET, &location),
            (Method::PATCH, &location),
            (Method::PUT, &put),
            (Method::DELETE, &location),
        ] {
            let response = send(&server, other, method, path, "evil").await;
            assert_error(response, 404, "BLOB_UPLOAD_UNKNOWN").await;
        }
    }
    let response = send(&server, "ci", Method::PATCH, &location, "con").await;
    assert_eq!(header(&response, "range"), "0-2");
    let response = send(&server, "ci", Method::PUT, &put, "tent").await;
    assert_eq!(response.status(), 201);
}

/// Before: 2,454 a second, without an end.
#[tokio::test]
async fn the_uploads_of_one_caller_are_bounded() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let start = "/v2/a/blobs/uploads/";
    let mut last = String::new();
    for _ in 0..256 {
        let begun = send(&server, "many", Method::POST, start, "").await;
        assert_eq!(begun.status(), 202);
        last = header(&begun, "location");
    }
    for _ in 0..3 {
        let refused = send(&server, "many", Method::POST, start, "").await;
        assert_eq!(header(&refused, "retry-after"), "1");
        assert_error(refused, 429, "TOOMANYREQUESTS").await;
    }
    assert_eq!(data.files("uploads").len(), 2 * 256);
    let other = send(&server, "other", Method::POST, start, "").await;
    assert_eq!(other.status(), 202);
    // One that is done makes room.
    let put = format!("{last}?digest={}", sha256(b"content"));
    let put = send(&server, "many", Method::PUT, &put, "content").await;
    assert_eq!(put.status(), 201);
    let begun = send(&server, "many", Method::POST, start, "").await;
    assert_eq!(begun.status(), 202);
}

#[tokio::test]
async fn a_put_of_an_upload_that_is_done_is_answered_as_the_first() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let location = server.begin("a").await;
    let content = noise(100_000);
    let put = async |digest: &str| {
        let path = format!("{location}?digest={digest}");
        let request = server.request(Method::PUT, &path).body(content.clone());
        request.send().await.unwrap()
    };
    let digest = sha256(&content).to_string();
    let first = put(&digest).await;
    assert_eq!(first.status(), 201);
    let again = put(&digest).await;
    assert_eq!(again.status(), 201);
    for name in ["location", "docker-content-digest"] {
        assert_eq!(header(&again, name), header(&first, name));
    }
    let other = put(&sha256(b"other").to_string()).await;
    assert_error(other, 404, "BLOB_UPLOAD_UNKNOWN").await;
    assert_eq!(server.get(&location).await.status(), 404);
    let delete = server.delete(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(delete.status(), 202);
    assert_error(put(&digest).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
}

/// Before: each request walked all repositories.
#[tokio::test]
async fn the_catalogue_comes_from_an_index() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for name in ["c", "a/b", "b"] {
        server.push_image(name, "tag", b"layer").await;
    }
    server.push_blob("none", b"blob").await;
    let (_, digest) = server.push_image("d", "tag", b"layer").await;
    let delete = server.delete(&format!("/v2/d/manifests/{digest}")).await;
    assert_eq!(delete.status(), 202);
    server.stop().await;
    let server = Server::start(&data).await;
    let repositories = data.path().join("repositories");
    fs::rename(&repositories, data.path().join("away")).unwrap();
    let catalog = server.get("/v2/_catalog?n=2&last=a").await;
    assert_eq!(
        header(&catalog, "link"),
        "</v2/_catalog?n=2&last=b>; rel=\"next\""
    );
    let text = catalog.text().await.unwrap();
    assert_eq!(text, r#"{"repositories":["a/b","b"]}"#);
    fs::rename(data.path().join("away"), &repositories).unwrap();
    let all = server.get("/v2/_catalog").await.text().await.unwrap();
    assert_eq!(all, r#"{"repositories":["a/b","b","c"]}"#);
}

#[tokio::test]
async fn the_folders_of_the_store_are_its_users_alone() {
    let data = Data::new();
    for directory in ["blobs", "uploads"] {
        let path = data.path().join(directory);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let _server = Server::start(&data).await;
    for directory in ["tmp", "uploads", "blobs", "repositories"] {
        let mode = fs::metadata(data.path().join(directory)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o700, "{directory}");
    }
}
