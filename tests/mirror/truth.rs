//! What an upstream says is taken for what it is, and what one caller does costs no other.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use futures_util::future::join_all;
use portcullis::Preset;
use portcullis::admin::Admin;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::misbehaving::{Fault, Misbehaving};
use crate::support::{
    CALLER, Data, LONG, MANIFEST, NONE, Server, assert_error, descriptor, header, noise, sha256,
    until,
};
use crate::upstream::{Condition, Patience, UpstreamOptions};

const TAG: &str = "/v2/a/manifests/tag";
const TAGS: &str = "/v2/a/tags/list";

async fn get_as(mirror: &Server, caller: &str, path: &str) -> Response {
    let request = mirror.request(Method::GET, path);
    request.header(CALLER, caller).send().await.unwrap()
}

#[tokio::test]
async fn a_transfer_that_no_client_waits_for_leaves_its_caller_all_its_places() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let digest = upstream.put_blob("a", b"layer");
    upstream.at("GET /v2/slow/", Fault::Trickle);
    // More than its places, one batch after another.
    for batch in 0..2_u8 {
        let started = join_all((0..32_u8).map(async |number| {
            let mut content = noise(100_000);
            content[..2].copy_from_slice(&[batch, number]);
            let slow = upstream.put_blob("slow", &content);
            get_as(&mirror, "node", &format!("/v2/slow/blobs/{slow}")).await
        }));
        for get in started.await {
            assert_eq!(get.status(), 200);
        }
    }
    let get = get_as(&mirror, "node", &format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(get.text().await.unwrap(), "layer");
}

#[tokio::test]
async fn one_caller_without_a_place_left_keeps_no_other_from_what_both_want() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let (manifest, _) = upstream.put_image("a", "tag", b"layer");
    let held = Arc::new(Semaphore::new(0));
    upstream.at("GET /v2/slow/", Fault::Hold(Arc::clone(&held)));
    let ask = |path: String| {
        let request = mirror.request(Method::GET, &path);
        tokio::spawn(request.header(CALLER, "greedy").send())
    };
    let slow: Vec<_> = (0..32)
        .map(|number| ask(format!("/v2/slow/manifests/t{number}")))
        .collect();
    until("its places are taken", || {
        upstream.asked("GET /v2/slow/").len() == 32
    })
    .await;
    let waiting = ask(TAG.to_owned());
    for _ in 0..20 {
        mirror.get("/v2/").await;
    }
    let get = get_as(&mirror, "other", TAG).await;
    assert_eq!(get.bytes().await.unwrap(), manifest);
    held.add_permits(100);
    for asked in slow {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn one_repository_that_hangs_and_a_list_that_trickles_keep_nobody_from_the_rest() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let (manifest, _) = upstream.put_image("a", "tag", b"layer");
    upstream.put("/v2/slow/tags/list", "application/json", noise(10_000));
    let patience = Patience {
        answer: Duration::from_millis(1500),
        silence: Duration::from_secs(600),
        ..Patience::default()
    };
    let mirror = Server::patient(&here, &upstream, patience, NONE).await;
    upstream.at("GET /v2/hangs/", Fault::Silence);
    upstream.at("GET /v2/slow/", Fault::Trickle);
    for path in [
        "/v2/hangs/manifests/tag",
        "/v2/slow/tags/list",
        "/v2/hangs/manifests/tag",
    ] {
        assert_error(mirror.get(path).await, 502, "UNAVAILABLE").await;
    }
    assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
    // The one that hangs is not waited for again.
    assert_eq!(upstream.asked("GET /v2/hangs/").len(), 1);
}

/// One caller can name as many of them as it likes.
#[tokio::test]
async fn no_number_of_repositories_that_hang_is_a_silent_upstream_while_its_registry_answers() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let (manifest, _) = upstream.put_image("a", "tag", b"layer");
    let patience = Patience {
        answer: Duration::from_millis(1500),
        silence: Duration::from_secs(600),
        ..Patience::default()
    };
    let mirror = Server::patient(&here, &upstream, patience, NONE).await;
    upstream.at("GET /v2/hangs/", Fault::Silence);
    let hanging = (0..6).map(|number| format!("/v2/hangs/{number}/manifests/tag"));
    let hanging: Vec<_> = hanging.collect();
    for get in join_all(hanging.iter().map(|path| mirror.get(path))).await {
        assert_error(get, 502, "UNAVAILABLE").await;
    }
    until("the registry itself is asked", || {
        upstream
            .asked("GET /v2/")
            .iter()
            .any(|asked| asked == "GET /v2/")
    })
    .await;
    assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
    let upstream_is = || {
        mirror
            .registry()
            .pull
            .as_ref()
            .unwrap()
            .upstream()
            .condition()
    };
    assert_eq!(upstream_is(), Condition::Good);
}

#[tokio::test]
async fn what_has_no_list_is_no_empty_list() {
    let image = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []}).to_string();
    for body in [
        r#"{"errors":[{"code":"UNAVAILABLE","message":"x"}]}"#,
        "{}",
        &image,
        "<html>log in</html>",
        "null",
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        let subject = sha256(b"subject");
        let referrers = format!("/v2/a/referrers/{subject}");
        upstream.at(
            "GET /v2/a/",
            Fault::text(200, "application/json", body.to_owned()),
        );
        assert_error(mirror.get(TAGS).await, 502, "UNAVAILABLE").await;
        assert_error(mirror.get(&format!("{TAGS}?n=5")).await, 502, "UNAVAILABLE").await;
        assert_error(mirror.get(&referrers).await, 502, "UNAVAILABLE").await;
        // The tag by which they are kept where they are not listed.
        upstream.at("GET /v2/a/referrers/", Fault::Status(404));
        assert_error(mirror.get(&referrers).await, 502, "UNAVAILABLE").await;
    }
}

#[tokio::test]
async fn a_tag_of_signatures_that_is_not_given_is_not_one_that_is_not_there() {
    for (fault, status) in [
        (Fault::error(404, "MANIFEST_UNKNOWN"), 200),
        (Fault::error(401, "UNAUTHORIZED"), 502),
        (Fault::error(403, "DENIED"), 502),
        (Fault::Status(403), 502),
        (Fault::Status(404), 502),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        upstream.at("GET /v2/a/referrers/", Fault::Status(404));
        upstream.at("GET /v2/a/manifests/", fault);
        let path = format!("/v2/a/referrers/{}", sha256(b"subject"));
        assert_eq!(mirror.get(&path).await.status(), status);
    }
}

#[tokio::test]
async fn signatures_are_found_by_their_tag_where_the_registry_leads_away() {
    let (upstream, site, here) = (
        Misbehaving::start().await,
        Misbehaving::start().await,
        Data::new(),
    );
    let options = UpstreamOptions {
        url: upstream.url(),
        redirects: vec![site.server.host(), "127.0.0.1:1".parse().unwrap()],
        ..UpstreamOptions::default()
    };
    let mirror = Server::mirror_of(&here, &options, LONG, Preset::Mirror).await;
    let subject = sha256(b"subject");
    let signature = descriptor(MANIFEST, b"signature");
    let index = json!({"schemaVersion": 2, "manifests": [signature]}).to_string();
    let tag = format!("/v2/a/manifests/sha256-{}", subject.hex());
    upstream.put(&tag, "application/json", index);
    site.at("", Fault::text(200, "text/html", "<html>"));
    for host in [site.url(), "http://127.0.0.1:1".to_owned()] {
        let there = vec![("location", format!("{host}/login"))];
        let away = Fault::Answer(303, there, Bytes::new());
        upstream.at("GET /v2/a/referrers/", away);
        let get = mirror.get(&format!("/v2/a/referrers/{subject}")).await;
        let found: Value = serde_json::from_str(&get.text().await.unwrap()).unwrap();
        assert_eq!(found["manifests"], json!([signature]), "{host}");
    }
}

#[tokio::test]
async fn a_registry_that_does_not_list_still_has_what_it_has() {
    for fault in [
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(404),
        Fault::error(401, "UNAUTHORIZED"),
        Fault::error(403, "DENIED"),
        Fault::error(404, "NAME_UNKNOWN"),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let (manifest, subject) = upstream.put_image("a", "tag", b"layer");
        let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
        assert_eq!(mirror.get(TAG).await.status(), 200);
        upstream.at("GET /v2/a/tags/", fault);
        // Not only what is cached of it.
        assert_error(mirror.get(TAGS).await, 502, "UNAVAILABLE").await;
        upstream.at("", Fault::Status(500));
        assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
        for path in [
            "/v2/a/manifests/new".to_owned(),
            format!("/v2/a/blobs/{}", sha256(b"new")),
            format!("/v2/a/referrers/{subject}"),
        ] {
            assert_error(mirror.get(&path).await, 502, "UNAVAILABLE").await;
        }
    }
}

#[tokio::test]
async fn only_a_registry_that_says_so_has_not_what_is_cached() {
    let storage = vec![("location", "/storage/x".to_owned())];
    for (fault, kept) in [
        (Fault::text(404, "text/plain", "404 page not found\n"), true),
        (Fault::text(404, "text/html", "<html>default backend"), true),
        (Fault::Status(404), true),
        (Fault::error(404, "UNAUTHORIZED"), true),
        (Fault::error(404, "UNKNOWN"), true),
        (Fault::text(403, "text/html", "<html>blocked"), true),
        (Fault::Answer(307, storage, Bytes::new()), true),
        (Fault::error(403, "DENIED"), false),
        (Fault::error(404, "NOT_FOUND"), false),
        (Fault::error(404, "NAME_UNKNOWN"), false),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let (manifest, _) = upstream.put_image("a", "tag", b"layer");
        let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
        assert_eq!(mirror.get(TAG).await.status(), 200);
        upstream.at("", fault);
        upstream.at("GET /storage/", Fault::error(404, "MANIFEST_UNKNOWN"));
        upstream.at("HEAD /storage/", Fault::Status(404));
        let other = mirror.get("/v2/a/manifests/other").await;
        if kept {
            assert_error(other, 502, "UNAVAILABLE").await;
            assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
            // It is still there.
            upstream.at("", Fault::Status(500));
            assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
        } else {
            assert_error(other, 404, "MANIFEST_UNKNOWN").await;
            assert_error(mirror.get(TAG).await, 404, "MANIFEST_UNKNOWN").await;
        }
    }
}

#[tokio::test]
async fn a_challenge_that_cannot_be_answered_is_a_fault_of_the_mirror_that_its_operator_sees() {
    for challenge in [
        None,
        Some("Digest realm=\"x\""),
        Some("Bearer service=\"x\""),
        Some("Basic realm=\"x\""),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let (manifest, _) = upstream.put_image("a", "tag", b"layer");
        let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
        assert_eq!(mirror.get(TAG).await.status(), 200);
        let challenge = challenge.map(|text| ("www-authenticate", text.to_owned()));
        let refused = r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#;
        let headers = challenge.into_iter().collect();
        upstream.at("", Fault::Answer(401, headers, Bytes::from(refused)));
        assert_eq!(mirror.get(TAG).await.bytes().await.unwrap(), manifest);
        let other = mirror.get("/v2/a/manifests/other").await;
        assert_error(other, 502, "UNAVAILABLE").await;
        let pull = mirror.registry().pull.as_ref().unwrap();
        let admin = Admin::new().with_checks([pull.readiness()]);
        let admin = Server::serve(Router::new().fallback_service(admin)).await;
        let ready = admin.get("/readyz").await.text().await.unwrap();
        assert!(ready.contains("MIRROR_UPSTREAM_USERNAME"), "{ready}");
    }
}

/// Lists these tags in this order, `n` at once, and goes on by name or by a token of its own.
fn list_in_windows(upstream: &Misbehaving, tags: &[String], n: usize, by_name: bool) {
    let query = |start: usize| match start {
        0 => String::new(),
        _ if by_name => format!("?n={n}&last={}", tags[start - 1]),
        _ => format!("?token={start:04}"),
    };
    let rule = |start: usize| {
        let end = tags.len().min(start + n);
        let link = (end < tags.len()).then(|| format!("<{TAGS}{}>; rel=\"next\"", query(end)));
        let link = link.map(|link| ("link", link)).into_iter().collect();
        let body = json!({"name": "a", "tags": tags[start..end]}).to_string();
        let page = Fault::Answer(200, link, Bytes::from(body));
        (format!("GET {TAGS}{}", query(start)), page)
    };
    let mut rules: Vec<_> = (0..=tags.len()).map(rule).collect();
    // Of two that fit the last one counts.
    rules.sort_by_key(|(begins, _)| begins.len());
    for (begins, page) in rules {
        upstream.at(&begins, page);
    }
}

/// All names, by following the links.
async fn walk(mirror: &Server, n: usize) -> Vec<String> {
    let (mut found, mut next) = (Vec::new(), Some(format!("{TAGS}?n={n}")));
    while let Some(path) = next {
        let page = mirror.get(&path).await;
        assert_eq!(page.status(), 200, "{path}");
        next = page.headers().contains_key("link").then(|| {
            let link = header(&page, "link");
            let target = link.strip_prefix('<').unwrap();
            target.split_once('>').unwrap().0.to_owned()
        });
        let page: Value = serde_json::from_str(&page.text().await.unwrap()).unwrap();
        let names: Vec<String> = serde_json::from_value(page["tags"].clone()).unwrap();
        assert!(names.len() <= n, "{path}");
        found.extend(names);
        assert!(found.len() < 1000, "{path}");
    }
    found
}

#[tokio::test]
async fn no_tag_is_left_out_by_pages_whatever_the_order_and_the_links_of_the_upstream() {
    let versions: Vec<_> = (0..60).map(|number| format!("1.{number}")).collect();
    let mut blocks: Vec<_> = (0..60).map(|number| format!("t{number:03}")).collect();
    blocks.rotate_left(20);
    for tags in [versions, blocks] {
        for by_name in [true, false] {
            for own in [&[][..], &["1.05", "1.3-ours", "t0", "t025-ours", "z"]] {
                let (upstream, here) = (Misbehaving::start().await, Data::new());
                let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
                for tag in own {
                    mirror.push_image("a", tag, b"layer").await;
                }
                list_in_windows(&upstream, &tags, 7, by_name);
                let mut expected = tags.clone();
                expected.extend(own.iter().map(|tag| (*tag).to_owned()));
                expected.sort();
                let mut found = walk(&mirror, 7).await;
                found.sort();
                found.dedup();
                assert_eq!(found, expected, "{by_name} {own:?}");
            }
        }
    }
}
