//! No upstream and no caller stops what others pull.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use futures_util::future::join_all;
use portcullis::ClientAddr;
use portcullis::admin::Admin;
use reqwest::Method;
use tokio::sync::Semaphore;

use crate::housekeeping::Housekeeping;
use crate::misbehaving::{Fault, Misbehaving};
use crate::routes::{Registry, router};
use crate::store::Limits;
use crate::support::{Data, LONG, NONE, Server, assert_error, noise, sha256, until};
use crate::upstream::{Condition, Patience, UpstreamOptions, announce};

const TAG: &str = "/v2/a/manifests/tag";

#[tokio::test]
async fn the_slow_transfers_of_one_caller_leave_room_for_another() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let options = UpstreamOptions {
        url: upstream.url(),
        ..UpstreamOptions::default()
    };
    let registry = Server::registry_of(&here, &options).await;
    // Who calls, as the gate would have found it out.
    let caller = from_fn(async |mut request: Request, next: Next| {
        let caller = request.headers().get("x-caller").cloned();
        if let Some(caller) = caller {
            let address: SocketAddr = caller.to_str().unwrap().parse().unwrap();
            request.extensions_mut().insert(ClientAddr::new(address));
        }
        next.run(request).await
    });
    let mirror = Server::serve(router(registry).layer(caller)).await;
    upstream.at("GET /v2/slow/", Fault::Hold(Arc::new(Semaphore::new(0))));
    let get = |caller: &'static str, path: String| {
        let request = mirror
            .request(Method::GET, &path)
            .header("x-caller", caller);
        request.send()
    };
    let slow = (0..300_u32).map(|number| {
        let digest = upstream.put_blob("slow", &number.to_le_bytes());
        tokio::spawn(get("10.0.0.1:1", format!("/v2/slow/blobs/{digest}")))
    });
    let slow: Vec<_> = slow.collect();
    until("as many as one caller may have", || {
        upstream.asked("GET /v2/slow/").len() == 32
    })
    .await;
    let digest = upstream.put_blob("a", b"layer");
    let other = get("10.0.0.2:1", format!("/v2/a/blobs/{digest}"));
    assert_eq!(other.await.unwrap().text().await.unwrap(), "layer");
    assert_eq!(upstream.asked("GET /v2/slow/").len(), 32);
    for request in &slow {
        request.abort();
    }
}

#[tokio::test]
async fn a_place_is_not_waited_for_by_a_client_that_has_left() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let held = Arc::new(Semaphore::new(0));
    upstream.at("GET /v2/slow/", Fault::Hold(Arc::clone(&held)));
    let pull = |number: u32| {
        let digest = upstream.put_blob("slow", &number.to_le_bytes());
        let path = format!("/v2/slow/blobs/{digest}");
        tokio::spawn(mirror.request(Method::GET, &path).send())
    };
    let first: Vec<_> = (0..32).map(pull).collect();
    until("all places are taken", || {
        upstream.asked("GET /v2/slow/").len() == 32
    })
    .await;
    let left: Vec<_> = (32..64).map(pull).collect();
    tokio::task::yield_now().await;
    left.iter().for_each(tokio::task::JoinHandle::abort);
    for request in left {
        assert!(request.await.unwrap_err().is_cancelled());
    }
    held.add_permits(32);
    for request in first {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
    // Had those who left been waiting, this one would come after them.
    let digest = upstream.put_blob("a", b"layer");
    let get = mirror.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(get.text().await.unwrap(), "layer");
}

#[tokio::test]
async fn fifty_requests_for_one_tag_are_one_question_and_one_token() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let (manifest, digest) = upstream.put_image("a", "tag", b"layer");
    upstream.challenge(&["Bearer realm=\"URL/token\",service=\"s\""]);
    let held = Arc::new(Semaphore::new(0));
    upstream.at("GET /token", Fault::Hold(Arc::clone(&held)));
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    for path in [TAG.to_owned(), format!("/v2/a/manifests/{digest}")] {
        let all = join_all((0..50).map(|_| mirror.get(&path)));
        let release = async {
            until("the token is asked for", || {
                !upstream.asked("GET /token").is_empty()
            })
            .await;
            held.add_permits(50);
        };
        let (all, ()) = tokio::join!(all, release);
        for get in all {
            assert_eq!(get.bytes().await.unwrap(), manifest);
        }
    }
    assert_eq!(upstream.asked("GET /token").len(), 1);
    assert_eq!(upstream.asked("HEAD "), Vec::<String>::new());
    // Without the token and with it.
    assert_eq!(upstream.asked("GET /v2/").len(), 2);
}

#[tokio::test]
async fn a_token_is_kept_by_scope_for_its_life() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    for name in ["a", "b"] {
        for tag in ["one", "two", "three"] {
            upstream.put_image(name, tag, b"layer");
        }
    }
    upstream.challenge(&["Bearer realm=\"URL/token\""]);
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let pull = async |tags: &[&str]| {
        for name in ["a", "b"] {
            for tag in tags {
                let get = mirror.get(&format!("/v2/{name}/manifests/{tag}")).await;
                assert_eq!(get.status(), 200, "{name} {tag}");
            }
        }
    };
    pull(&["one", "two"]).await;
    let scopes = upstream.asked("GET /token");
    let expected = ["a", "b"].map(|name| format!("GET /token?scope=repository%3A{name}%3Apull"));
    assert_eq!(scopes, expected);
    // One that the registry does not take any more is fetched anew.
    let challenge = format!("Bearer realm=\"{}/token\"", upstream.url());
    let challenge = vec![("www-authenticate", challenge)];
    let expired = Fault::Answer(401, challenge, Bytes::new());
    upstream.times(1, "GET /v2/a/manifests/three", expired);
    pull(&["three"]).await;
    assert_eq!(upstream.asked("GET /token").len(), 3);
}

#[tokio::test]
async fn a_cached_tag_is_served_before_a_slow_upstream_answers_and_moves_when_it_does() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let (manifest, _) = upstream.put_image("a", "tag", b"layer");
    let patience = Patience {
        answer: Duration::from_secs(60),
        cached: Duration::from_millis(50),
        ..Patience::default()
    };
    let mirror = Server::patient(&here, &upstream, patience, NONE).await;
    assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
    let held = Arc::new(Semaphore::new(0));
    upstream.at("", Fault::Hold(Arc::clone(&held)));
    let (moved, _) = upstream.put_image("a", "tag", b"moved");
    for _ in 0..5 {
        assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
    }
    assert!(upstream.asked("HEAD ").len() <= 1, "one question for all");
    held.add_permits(100);
    let deadline = Instant::now() + Duration::from_secs(60);
    while mirror.get(TAG).await.bytes().await.unwrap() != moved {
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn an_upstream_that_was_silent_is_not_waited_for_again_at_once() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let (manifest, _) = upstream.put_image("a", "tag", b"layer");
    let patience = Patience {
        answer: Duration::from_secs(5),
        silence: Duration::from_secs(600),
        ..Patience::default()
    };
    let mirror = Server::patient(&here, &upstream, patience, NONE).await;
    assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
    upstream.at("", Fault::Silence);
    let other = "/v2/a/manifests/other";
    assert_error(mirror.get(other).await, 502, "UNAVAILABLE").await;
    let upstream_is = || {
        mirror
            .registry()
            .pull
            .as_ref()
            .unwrap()
            .upstream()
            .condition()
    };
    until("the registry itself was asked", || {
        upstream_is() == Condition::Silent
    })
    .await;
    upstream.forget_asked();
    for _ in 0..20 {
        assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
        assert_error(mirror.get(other).await, 502, "UNAVAILABLE").await;
        let blob = format!("/v2/a/blobs/{}", sha256(b"other"));
        assert_error(mirror.get(&blob).await, 502, "UNAVAILABLE").await;
    }
    assert_eq!(upstream.asked(""), Vec::<String>::new());
}

#[tokio::test]
async fn an_operator_sees_how_the_upstream_is() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let options = UpstreamOptions {
        url: upstream.url(),
        patience: Patience {
            answer: Duration::from_millis(200),
            silence: Duration::from_secs(600),
            ..Patience::default()
        },
        ..UpstreamOptions::default()
    };
    let pull = Server::registry_of(&here, &options).await.pull.unwrap();
    let described = pull.upstream().describe(None);
    for part in [
        &upstream.url(),
        "without credentials",
        "every registry",
        "--namespace",
    ] {
        assert!(described.contains(part), "{part:?} in {described:?}");
    }
    let admin = Admin::new().with_checks([pull.readiness()]);
    let admin = Server::serve(Router::new().fallback_service(admin)).await;
    assert_eq!(admin.get("/readyz").await.status(), 200);
    upstream.at("", Fault::Silence);
    announce(&pull, None);
    until("it is asked at the start", || {
        upstream.asked("GET /v2/").len() == 1
    })
    .await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let ready = admin.get("/readyz").await;
        // What is kept can be served.
        assert_eq!(ready.status(), 200);
        if ready.text().await.unwrap().contains("does not answer") {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}

/// Clients pull images of one layer of `LAYER` bytes, or a little more, all the time; `MIRROR_PULLS=10000` makes a soak
/// of it. The store has room for one image in so many.
async fn pull_through_faults(one_in: Option<u64>) {
    const CLIENTS: usize = 64;
    const LAYER: usize = 100_000;
    /// What an image takes on the disk, in whole blocks.
    const IMAGE: u64 = 112 * 1024;
    let pulls = std::env::var("MIRROR_PULLS").map_or(640, |text| text.parse().unwrap());
    let images = (pulls / 50).max(20);
    let max_size = one_in.map(|part| images as u64 * IMAGE / part);
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let patience = Patience {
        pause: Duration::from_millis(1),
        ..Patience::default()
    };
    let limits = Limits {
        max_size,
        min_free: 0,
    };
    let ttl = Duration::from_millis(500);
    let mirror = Server::patient_within(&here, &upstream, patience, ttl, limits).await;
    let Registry { store, uploads, .. } = mirror.registry().clone();
    let housekeeping = Housekeeping {
        unreferenced: LONG,
        untagged: None,
        scrub: LONG,
    };
    let housekeeping = tokio::spawn(housekeeping.run(store.clone(), uploads));
    let layer = |number: usize| noise(LAYER + number);
    let kept: Vec<_> = (0..images)
        .map(|number| {
            upstream
                .put_image("a", &format!("t{number}"), &layer(number))
                .0
        })
        .collect();
    upstream.sometimes(5);
    let peak = AtomicU64::new(0);
    let pull = async |number: usize| {
        let get = mirror.get(&format!("/v2/a/manifests/t{number}")).await;
        let mut good = get.status() == 200;
        if good {
            assert_eq!(get.bytes().await.unwrap(), kept[number]);
        } else {
            assert!(get.status().is_server_error(), "{}", get.status());
        }
        let content = layer(number);
        let get = mirror
            .get(&format!("/v2/a/blobs/{}", sha256(&content)))
            .await;
        if get.status() == 200 {
            match get.bytes().await {
                Ok(bytes) => assert!(bytes == content),
                Err(_) => good = false,
            }
        } else {
            assert!(get.status().is_server_error(), "{}", get.status());
            good = false;
        }
        peak.fetch_max(store.disk().used(), Ordering::Relaxed);
        usize::from(good)
    };
    let (began, before) = (Instant::now(), resident());
    let clients = (0..CLIENTS).map(async |client| {
        let mut good = 0;
        for round in 0..pulls / CLIENTS {
            good += pull((client * 7 + round * 13) % images).await;
            // What the test remembers is not to pass for what the mirror keeps.
            upstream.forget_asked();
        }
        good
    });
    let good: usize = join_all(clients).await.iter().sum();
    let (took, after) = (began.elapsed(), resident());
    let peak_was = peak.load(Ordering::Relaxed);
    println!(
        "{good} of {pulls} pulls of {images} images were whole, in {took:?}; at most {peak_was} bytes on the disk of \
         {max_size:?}; {before} KiB in memory before and {after} after"
    );
    assert!(good * 10 > pulls * 8, "{good} of {pulls}");
    upstream.mend();
    for number in 0..images {
        assert_eq!(pull(number).await, 1, "{number}");
    }
    assert!(here.files("tmp").len() <= 32);
    let Some(max_size) = max_size else {
        assert_eq!(here.files("blobs").len(), images);
        return;
    };
    // A tenth more makes what comes wait, and what is in flight then comes on top.
    let most = max_size + max_size / 10 + CLIENTS as u64 * IMAGE;
    let peak = peak.load(Ordering::Relaxed);
    assert!(peak <= most, "{peak} of {most}");
    until("the store is within its limit", || {
        store.disk().used() <= max_size
    })
    .await;
    let blobs = here.files("blobs").len() * LAYER;
    assert!(blobs as u64 <= max_size, "{blobs}");
    housekeeping.abort();
}

/// What the process has in memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_pull_the_right_images_through_an_upstream_with_faults() {
    pull_through_faults(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_pull_the_right_images_through_a_store_that_has_room_for_a_third_of_them() {
    pull_through_faults(Some(3)).await;
}

#[tokio::test]
async fn a_transfer_that_trickles_comes_to_an_end() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let digest = upstream.put_blob("a", &noise(1_000_000));
    let patience = Patience {
        progress: Duration::from_millis(200),
        pause: Duration::from_millis(1),
        ..Patience::default()
    };
    let mirror = Server::patient(&here, &upstream, patience, LONG).await;
    upstream.at("GET ", Fault::Trickle);
    let get = mirror.get(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(get.status(), 200);
    assert!(get.bytes().await.is_err());
    assert_eq!(here.files("blobs").len(), 0);
}

#[tokio::test]
async fn a_blob_without_an_end_ends_when_its_client_leaves() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let digest = upstream.put_blob("a", b"layer");
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let alive = Arc::new(());
    upstream.at("GET ", Fault::Endless(Arc::clone(&alive)));
    let mut get = mirror.get(&format!("/v2/a/blobs/{digest}")).await;
    assert!(get.chunk().await.unwrap().is_some());
    upstream.mend();
    drop(get);
    until("the upstream's answer is given up", || {
        Arc::strong_count(&alive) == 1
    })
    .await;
}
