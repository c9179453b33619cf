//! What one caller can take of the process: memory and descriptors, measured from outside.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::routing::any;
use futures_util::future::join_all;
use reqwest::{Body, Client};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{Mirror, Shown, sha256, until};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MIB: usize = 1024 * 1024;

/// The most memory that the process ever had, in MiB.
fn peak(mirror: &Mirror) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", mirror.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<usize>().unwrap() / 1024
}

fn descriptors(mirror: &Mirror) -> usize {
    fs::read_dir(format!("/proc/{}/fd", mirror.id()))
        .unwrap()
        .count()
}

async fn put(client: &Client, url: String, body: impl Into<Body>) -> u16 {
    let request = client.put(url).header("content-type", INDEX).body(body);
    request.send().await.unwrap().status().as_u16()
}

/// Before: 1.5 GB for lists of 20 planted referrers, 700 MB for a manifest of 220,751 empty descriptors,
/// and all that 60 pushes held.
#[tokio::test]
async fn the_memory_that_one_caller_can_take_is_bounded() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let client = mirror.by_token();
    let before = peak(&mirror);
    let subject = sha256(b"subject");
    for number in 0..20 {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[],"subject":{{"mediaType":"x/y","size":1,"digest":"{subject}"}},"annotations":{{"{number}":"{}"}}}}"#,
            "x".repeat(4 * MIB - 300)
        );
        let url = mirror.url(&format!("/v2/a/manifests/t{number}"));
        assert_eq!(put(&client, url, index).await, 201);
    }
    let lists = (0..40).map(|_| async {
        let url = mirror.url(&format!("/v2/a/referrers/{subject}"));
        client.get(url).send().await.unwrap().status().as_u16()
    });
    assert_eq!(join_all(lists).await, [200; 40]);
    let lists = peak(&mirror) - before;

    let empty = vec!["{}"; (4 * MIB - 50) / 3].join(",");
    let planted = format!(r#"{{"schemaVersion":2,"layers":[{empty}]}}"#);
    let one = format!(r#"{{"digest":"{subject}","size":1}}"#);
    let many = vec![one.as_str(); (4 * MIB - 50) / (one.len() + 1)].join(",");
    let many = format!(r#"{{"schemaVersion":2,"manifests":[{many}]}}"#);
    for content in [planted, many] {
        let url = mirror.url("/v2/a/manifests/planted");
        assert_eq!(put(&client, url, content).await, 400);
    }
    let planted = peak(&mirror) - before;

    // Pushes of which the last byte does not come, each on a connection of its own.
    let shown = Shown {
        token: Some(&mirror.token()),
        ..Shown::default()
    };
    let each = mirror.builder(shown).http1_only().build().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let mut held = Vec::new();
    let mut ends = Vec::new();
    for number in 0..60 {
        let (sender, receiver) = mpsc::channel(1);
        ends.push(sender.clone());
        let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        let url = mirror.url(&format!("/v2/b/manifests/t{number}"));
        let request = each.put(url).body(Body::wrap_stream(pieces));
        held.push(tokio::spawn(request.send()));
        let taken = Arc::clone(&taken);
        tokio::spawn(async move {
            for _ in 0..63 {
                let piece: std::io::Result<Vec<u8>> = Ok(vec![b' '; MIB / 16]);
                if sender.send(piece).await.is_err() {
                    return;
                }
                taken.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    // As much as the mirror takes; and the others hear from it all the same.
    until("the pushes that it takes", || {
        (taken.load(Ordering::SeqCst) > 7 * 63).then_some(())
    })
    .await;
    for _ in 0..20 {
        let list = mirror.by_certificate().get(mirror.url("/v2/a/tags/list"));
        assert_eq!(list.send().await.unwrap().status(), 200);
    }
    for task in held {
        task.abort();
    }
    drop(ends);
    let pushes = peak(&mirror) - before;
    println!("lists {lists} MiB, planted {planted} MiB, pushes {pushes} MiB");
    assert!(lists < 200, "lists took {lists} MiB");
    assert!(planted < 200, "planted took {planted} MiB");
    assert!(pushes < 250, "pushes took {pushes} MiB");
}

/// Before: 1.3 GB for pages of 8 MiB.
#[tokio::test]
async fn the_memory_that_an_upstreams_listings_take_is_bounded() {
    let tags = vec![r#""a""#; (8 * MIB - 100) / 4].join(",");
    let tags = Bytes::from(format!(r#"{{"tags":[{tags}]}}"#));
    // As many of them as one object may have.
    let notes: Vec<String> = (0..1024)
        .map(|number| format!("\"{number:06}\":\"{}\"", "x".repeat(4 * MIB / 1024 - 100)))
        .collect();
    let (digest, notes) = (sha256(b"referrer"), notes.join(","));
    let one = format!(
        r#"{{"mediaType":"{INDEX}","size":1,"digest":"{digest}","annotations":{{{notes}}}}}"#
    );
    let referrers = Bytes::from(format!(r#"{{"schemaVersion":2,"manifests":[{one}]}}"#));
    assert!(referrers.len() > 3 * MIB && referrers.len() < 4 * MIB);
    let listings = move |request: Request| {
        let is_tags = request.uri().path().ends_with("/tags/list");
        let body = if is_tags { &tags } else { &referrers };
        std::future::ready(([("content-type", "application/json")], body.clone()))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(any(listings));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let data = TempDir::new().unwrap();
    let mirror = Mirror::with(&data, &["--upstream", &url]).await;
    let client = mirror.by_token();
    let before = peak(&mirror);
    let referrers = format!("referrers/{}", sha256(b"subject"));
    for (path, good) in [("tags/list?n=5", false), (&*referrers, true)] {
        let asked = (0..40).map(|_| async {
            let url = mirror.url(&format!("/v2/a/{path}"));
            client.get(url).send().await.unwrap().status().as_u16()
        });
        let answers = join_all(asked).await;
        let taken = peak(&mirror) - before;
        println!("{path}: {taken} MiB");
        // Those who wait too long are asked to come again.
        let expected = if good { [200, 503] } else { [502, 503] };
        assert!(
            answers.iter().all(|one| expected.contains(one)),
            "{answers:?}"
        );
        assert!(answers.contains(&expected[0]), "{answers:?}");
        assert!(taken < 400, "{path} took {taken} MiB");
    }
}

/// Before: a file a stream, 1,024 for 4 connections.
#[tokio::test]
async fn streams_that_read_nothing_hold_no_descriptors() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let path = mirror.push_blob("a", &vec![7; 8 * MIB]).await;
    let before = descriptors(&mirror);
    let clients: Vec<Client> = (0..4).map(|_| mirror.by_token()).collect();
    let streams = clients
        .iter()
        .flat_map(|client| (0..64).map(move |_| client));
    let streams = streams.map(|client| client.get(mirror.url(&path)).send());
    let held: Vec<_> = join_all(streams).await;
    assert!(
        held.iter()
            .all(|held| held.as_ref().unwrap().status() == 200)
    );
    let found = until("few descriptors", || {
        let found = descriptors(&mirror).saturating_sub(before);
        (found < 100).then_some(found)
    });
    let found = found.await;
    println!("{found} descriptors for {} streams", held.len());
    // And they go on.
    let one = held.into_iter().next().unwrap().unwrap();
    assert_eq!(one.bytes().await.unwrap().len(), 8 * MIB);
}

/// Before: one caller's pushes of 1,699 tags each kept all others waiting for 30 to 150 s.
#[tokio::test]
async fn one_callers_pushes_do_not_keep_others_from_pulling() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let path = mirror.push_blob("a", b"layer").await;
    let client = mirror.by_token();
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let tags: Vec<String> = (0..32).map(|tag| format!("tag={tag}")).collect();
    let target = format!("/v2/a/manifests/{}?{}", sha256(index), tags.join("&"));
    let flood = (0..300).map(|_| {
        let (client, url) = (client.clone(), mirror.url(&target));
        tokio::spawn(async move { put(&client, url, index.to_vec()).await })
    });
    let flood: Vec<_> = flood.collect();
    let other = mirror.by_certificate();
    let began = std::time::Instant::now();
    for _ in 0..20 {
        let get = other.get(mirror.url(&path)).send().await.unwrap();
        assert_eq!(get.text().await.unwrap(), "layer");
    }
    let took = began.elapsed() / 20;
    println!("a pull takes {took:?} beside {} pushes", flood.len());
    assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    for task in flood {
        task.abort();
    }
}

#[tokio::test]
async fn a_browser_may_ask_from_the_origins_that_the_operator_names() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::with(&data, &["--allow-origin", "https://ui.example"]).await;
    // A browser shows no credentials with its preflight.
    let client = mirror.client(Shown::default());
    let preflight = async |origin: &str| {
        let request = client.request(reqwest::Method::OPTIONS, mirror.url("/v2/"));
        let request = request.header("origin", origin);
        let request = request.header("access-control-request-method", "GET");
        let request = request.header("access-control-request-headers", "authorization");
        request.send().await.unwrap()
    };
    let answer = preflight("https://ui.example").await;
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(headers["access-control-allow-origin"], "https://ui.example");
    assert_eq!(headers["access-control-allow-headers"], "authorization");
    let other = preflight("https://evil.example").await;
    assert_eq!(other.status(), 401);
    assert_eq!(other.headers().get("access-control-allow-origin"), None);
    // What is no preflight has to be let in.
    for (name, value) in [
        ("origin", "https://ui.example"),
        ("access-control-request-method", "GET"),
        ("x-none", ""),
    ] {
        let request = client.request(reqwest::Method::OPTIONS, mirror.url("/v2/"));
        let answer = request.header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{name}");
    }
    // What is refused says so to the page.
    let request = client
        .get(mirror.url("/v2/"))
        .header("origin", "https://ui.example");
    let refused = request.send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.headers()["access-control-allow-origin"],
        "https://ui.example"
    );

    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let client = mirror.client(Shown::default());
    let request = client.request(reqwest::Method::OPTIONS, mirror.url("/v2/"));
    let request = request.header("origin", "https://ui.example");
    let refused = request.send().await.unwrap();
    assert!(refused.status().is_client_error());
    assert_eq!(refused.headers().get("access-control-allow-origin"), None);
}

#[tokio::test]
async fn the_id_of_an_upload_is_not_in_the_log() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let client = mirror.by_token();
    let begun = client.post(mirror.url("/v2/a/blobs/uploads/")).send();
    let location = begun.await.unwrap().headers()["location"]
        .to_str()
        .unwrap()
        .to_owned();
    let id = location.rsplit('/').next().unwrap();
    let look = client.get(mirror.url(&location)).send().await.unwrap();
    assert_eq!(look.status(), 204);
    let events = until("both looks in the log", || {
        let ended = |event: &serde_json::Value| event["fields"]["oci.endpoint"] == "upload";
        let events = mirror.events().into_iter().filter(ended);
        let events: Vec<_> = events.collect();
        (!events.is_empty()).then_some(events)
    });
    let event = &events.await[0]["fields"];
    let reference = event["oci.reference"].as_str().unwrap();
    assert!(reference.starts_with("session-"), "{reference}");
    assert_eq!(
        event["url.path"],
        format!("/v2/a/blobs/uploads/{reference}")
    );
    assert!(!mirror.log().contains(id));
}
