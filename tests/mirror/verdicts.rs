//! What could not be found out is answered neither as "no" nor as "none".

use std::sync::Arc;

use axum::body::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::misbehaving::{Fault, Misbehaving};
use crate::support::{
    Data, INDEX, LONG, MANIFEST, NONE, Server, assert_error, descriptor, header, sha256, until,
};
use crate::upstream::UpstreamOptions;
use portcullis::Preset;

/// A mirror whose tags are looked at again each time, and what is tagged `kept` in it.
async fn with_a_kept_tag(upstream: &Misbehaving, here: &Data) -> (Server, Vec<u8>) {
    let (manifest, _) = upstream.put_image("a", "kept", b"layer");
    let mirror = Server::mirror(here, &upstream.url(), NONE).await;
    let get = mirror.get("/v2/a/manifests/kept").await;
    assert_eq!(get.status(), 200);
    (mirror, manifest)
}

async fn assert_kept(mirror: &Server, manifest: &[u8], what: &str) {
    let get = mirror.get("/v2/a/manifests/kept").await;
    assert_eq!(get.status(), 200, "{what}");
    assert_eq!(get.bytes().await.unwrap(), manifest, "{what}");
}

#[tokio::test]
async fn a_token_server_that_gives_no_token_says_nothing_of_what_there_is() {
    for (fault, status) in [
        (Fault::Status(429), 503),
        (Fault::Status(500), 502),
        (Fault::Status(503), 503),
        (Fault::Status(404), 502),
        (Fault::Answer(200, vec![], Bytes::from("<html>")), 502),
        (Fault::Answer(200, vec![], Bytes::from("{}")), 502),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        upstream.grant(r#"{"token":"t0k","expires_in":1}"#);
        upstream.challenge(&["Bearer realm=\"URL/token\""]);
        let (mirror, manifest) = with_a_kept_tag(&upstream, &here).await;
        upstream.at("GET /token", fault);
        assert_kept(&mirror, &manifest, "token").await;
        assert_error(
            mirror.get("/v2/a/manifests/other").await,
            status,
            "UNAVAILABLE",
        )
        .await;
        let blob = format!("/v2/a/blobs/{}", sha256(b"other"));
        assert_error(mirror.get(&blob).await, status, "UNAVAILABLE").await;
        assert_eq!(mirror.head(&blob).await.status(), status);
        let referrers = format!("/v2/a/referrers/{}", sha256(&manifest));
        assert_error(mirror.get(&referrers).await, status, "UNAVAILABLE").await;
        assert_error(mirror.get("/v2/a/tags/list").await, status, "UNAVAILABLE").await;
    }
}

#[tokio::test]
async fn a_token_server_that_refuses_is_believed_where_no_credentials_were_shown() {
    let denied = Bytes::from(r#"{"errors":[{"code":"DENIED","message":"no"}]}"#);
    for (body, status, code) in [
        (denied, 404, "MANIFEST_UNKNOWN"),
        (Bytes::new(), 502, "UNAVAILABLE"),
        (Bytes::from("<html>"), 502, "UNAVAILABLE"),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        upstream.challenge(&["Bearer realm=\"URL/token\""]);
        upstream.at("GET /token", Fault::Answer(403, vec![], body));
        let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
        let get = mirror.get("/v2/a/manifests/other").await;
        assert_error(get, status, code).await;
    }
}

#[tokio::test]
async fn what_a_redirect_leads_to_does_not_know_what_the_registry_has() {
    for status in [401, 403, 404, 410, 500] {
        let (upstream, elsewhere) = (Misbehaving::start().await, Misbehaving::start().await);
        let here = Data::new();
        let (manifest, _) = upstream.put_image("a", "kept", b"layer");
        let options = UpstreamOptions {
            url: upstream.url(),
            redirects: vec![elsewhere.server.host()],
            ..UpstreamOptions::default()
        };
        let mirror = Server::mirror_of(&here, &options, NONE, Preset::Mirror).await;
        assert_kept(&mirror, &manifest, "before").await;
        elsewhere.at("", Fault::Status(status));
        let there = vec![("location", format!("{}/x", elsewhere.url()))];
        upstream.at("", Fault::Answer(307, there, Bytes::new()));
        assert_kept(&mirror, &manifest, &status.to_string()).await;
        let get = mirror.get("/v2/a/manifests/other").await;
        assert_error(get, 502, "UNAVAILABLE").await;
        let blob = format!("/v2/a/blobs/{}", sha256(b"layer"));
        assert_error(mirror.get(&blob).await, 502, "UNAVAILABLE").await;
        assert!(!elsewhere.asked("").is_empty());
    }
}

#[tokio::test]
async fn a_get_decides_where_a_head_says_no() {
    for status in [401, 403, 404, 405, 501] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        upstream.at("HEAD ", Fault::Status(status));
        let (mirror, manifest) = with_a_kept_tag(&upstream, &here).await;
        assert_kept(&mirror, &manifest, "unchanged").await;
        let (moved, _) = upstream.put_image("a", "kept", b"moved");
        assert_kept(&mirror, &moved, "moved").await;
        // A layer that another image has here.
        let layer = upstream.put_blob("b", b"moved");
        upstream.put_blob("c", b"moved");
        for name in ["b", "c"] {
            let blob = format!("/v2/{name}/blobs/{layer}");
            let head = mirror.head(&blob).await;
            assert_eq!(head.status(), 200, "{status} {name}");
            assert_eq!(header(&head, "content-length"), "5", "{status} {name}");
            let get = mirror.get(&blob).await;
            assert_eq!(get.text().await.unwrap(), "moved", "{status} {name}");
        }
        assert_eq!(
            mirror.get(&format!("/v2/d/blobs/{layer}")).await.status(),
            404
        );
        upstream.remove("/v2/a/manifests/kept");
        let get = mirror.get("/v2/a/manifests/kept").await;
        assert_error(get, 404, "MANIFEST_UNKNOWN").await;
    }
}

#[tokio::test]
async fn a_page_that_says_200_to_all_gives_no_repository_the_layer_of_another() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
    let layer = upstream.put_blob("secret", b"layer");
    let get = mirror.get(&format!("/v2/secret/blobs/{layer}")).await;
    assert_eq!(get.text().await.unwrap(), "layer");
    let page = Fault::Answer(200, vec![], Bytes::from("<html>log in</html>"));
    upstream.at("", page);
    let get = mirror.get(&format!("/v2/public/blobs/{layer}")).await;
    assert!(get.bytes().await.is_err());
}

#[tokio::test]
async fn a_tag_that_cannot_be_asked_for_unchanged_is_asked_for_by_its_digest() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let (mirror, manifest) = with_a_kept_tag(&upstream, &here).await;
    upstream.forget_asked();
    assert_kept(&mirror, &manifest, "by HEAD").await;
    assert_eq!(upstream.asked("GET "), Vec::<String>::new());
    upstream.at("HEAD ", Fault::Status(405));
    assert_kept(&mirror, &manifest, "by GET").await;
    let condition = upstream.headers("GET /v2/a/manifests/kept", "if-none-match");
    assert_eq!(condition, [format!("\"{}\"", sha256(&manifest))]);
}

#[tokio::test]
async fn signatures_are_found_by_their_tag_where_referrers_are_not_listed() {
    let away = vec![("location", "/login".to_owned())];
    for fault in [
        Fault::Status(400),
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(404),
        Fault::Status(405),
        Fault::Status(501),
        Fault::Answer(303, away, Bytes::new()),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
        let (_, subject) = upstream.put_image("a", "tag", b"layer");
        let path = format!("/v2/a/referrers/{subject}");
        upstream.at("GET /v2/a/referrers/", fault);
        upstream.at("GET /login", Fault::text(200, "text/html", "<html>"));
        let none: Value =
            serde_json::from_str(&mirror.get(&path).await.text().await.unwrap()).unwrap();
        assert_eq!(none["manifests"], json!([]));
        let mut signature = descriptor(MANIFEST, b"signature");
        signature["artifactType"] = json!("application/vnd.example.sig");
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [signature]});
        let tag = format!("/v2/a/manifests/sha256-{}", subject.hex());
        upstream.put(&tag, INDEX, serde_json::to_vec(&index).unwrap());
        let found = mirror.get(&path).await;
        assert_eq!(found.status(), 200);
        let found: Value = serde_json::from_str(&found.text().await.unwrap()).unwrap();
        assert_eq!(found["manifests"], json!([signature]));
        upstream.at(&format!("GET {tag}"), Fault::Status(500));
        assert_error(mirror.get(&path).await, 502, "UNAVAILABLE").await;
    }
}

#[tokio::test]
async fn what_is_this_mirrors_own_is_served_while_the_upstream_is_away() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let (_, subject) = mirror.push_image("own", "tag", b"layer").await;
    mirror.push_image("both", "tag", b"layer").await;
    upstream.put(
        "/v2/both/tags/list",
        "application/json",
        r#"{"tags":["theirs"]}"#,
    );
    // While it can still say whose they are.
    for (name, expected) in [("own", json!(["tag"])), ("both", json!(["tag", "theirs"]))] {
        let tags = mirror.get(&format!("/v2/{name}/tags/list")).await;
        let tags: Value = serde_json::from_str(&tags.text().await.unwrap()).unwrap();
        assert_eq!(tags["tags"], expected);
    }
    upstream.at("", Fault::Status(500));
    let tags = mirror.get("/v2/own/tags/list").await.text().await.unwrap();
    assert_eq!(tags, r#"{"name":"own","tags":["tag"]}"#);
    let referrers = mirror.get(&format!("/v2/own/referrers/{subject}")).await;
    assert_eq!(referrers.status(), 200);
    // What a push asks before it sends.
    let head = mirror
        .head(&format!("/v2/own/blobs/{}", sha256(b"new")))
        .await;
    assert_eq!(head.status(), 404);
    for path in ["tags/list".to_owned(), format!("referrers/{subject}")] {
        let response = mirror.get(&format!("/v2/both/{path}")).await;
        assert_error(response, 502, "UNAVAILABLE").await;
    }
}

#[tokio::test]
async fn what_was_pushed_here_is_listed_while_an_upstream_that_never_spoke_of_it_is_away() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    for name in ["both", "theirs"] {
        upstream.put_image(name, "theirs", b"layer");
    }
    let layer = upstream.put_blob("blobs", b"layer");
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let (_, subject) = mirror.push_image("own", "tag", b"layer").await;
    let subject_of = json!({"mediaType": MANIFEST, "size": 1, "digest": subject.to_string()});
    let signature = json!({"schemaVersion": 2, "manifests": [], "subject": subject_of});
    let signature = serde_json::to_vec(&signature).unwrap();
    let put = mirror.put_manifest("own", "sig", INDEX, &signature).await;
    assert_eq!(put.status(), 201);
    // Of these it has shown that it has them.
    for name in ["both", "blobs"] {
        mirror.push_image(name, "tag", b"own").await;
    }
    for path in [
        "/v2/both/manifests/theirs".to_owned(),
        "/v2/theirs/manifests/theirs".to_owned(),
        format!("/v2/blobs/blobs/{layer}"),
    ] {
        let get = mirror.get(&path).await;
        assert_eq!(get.status(), 200);
        get.bytes().await.unwrap();
    }
    upstream.at("", Fault::Status(500));
    let tags = mirror.get("/v2/own/tags/list").await;
    assert_eq!(
        tags.text().await.unwrap(),
        r#"{"name":"own","tags":["sig","tag"]}"#
    );
    assert_eq!(mirror.get("/v2/own/manifests/tag").await.status(), 200);
    let referrers = mirror.get(&format!("/v2/own/referrers/{subject}")).await;
    let referrers: Value = serde_json::from_str(&referrers.text().await.unwrap()).unwrap();
    let digest = sha256(&signature).to_string();
    assert_eq!(referrers["manifests"][0]["digest"], json!(digest));
    // Whether the upstream has a tag that is not here it has not said.
    let other = mirror.get("/v2/own/manifests/other").await;
    assert_error(other, 502, "UNAVAILABLE").await;
    for name in ["both", "theirs", "blobs", "never"] {
        for path in ["tags/list".to_owned(), format!("referrers/{subject}")] {
            let get = mirror.get(&format!("/v2/{name}/{path}")).await;
            assert_error(get, 502, "UNAVAILABLE").await;
        }
    }
}

#[tokio::test]
async fn a_pull_that_ends_late_leaves_a_tag_that_was_pushed_meanwhile() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
    for theirs in [true, false] {
        // Once it moves the tag, once it has it no more.
        upstream.put_image("a", "tag", b"before");
        assert_eq!(mirror.get("/v2/a/manifests/tag").await.status(), 200);
        let permits = Arc::new(Semaphore::new(0));
        upstream.at("", Fault::Hold(Arc::clone(&permits)));
        upstream.forget_asked();
        if theirs {
            upstream.put_image("a", "tag", b"moved");
        } else {
            upstream.remove("/v2/a/manifests/tag");
        }
        let pull = tokio::spawn(mirror.request(Method::GET, "/v2/a/manifests/tag").send());
        until("the upstream is asked", || !upstream.asked("").is_empty()).await;
        let (_, ours) = mirror.push_image("a", "tag", b"ours").await;
        permits.add_permits(100);
        pull.await.unwrap().unwrap();
        let head = mirror.head("/v2/a/manifests/tag").await;
        assert_eq!(header(&head, "docker-content-digest"), ours.to_string());
        upstream.mend();
        assert_eq!(mirror.delete("/v2/a/manifests/tag").await.status(), 202);
    }
}

#[tokio::test]
async fn an_upstream_that_asks_to_wait_is_handed_on_where_clients_heed_it() {
    for (preset, status, code) in [
        (Preset::Registry, 429, "TOOMANYREQUESTS"),
        (Preset::Mirror, 503, "UNAVAILABLE"),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let options = UpstreamOptions {
            url: upstream.url(),
            ..UpstreamOptions::default()
        };
        let mirror = Server::mirror_of(&here, &options, NONE, preset).await;
        let wait = vec![("retry-after", "7".to_owned())];
        upstream.at("", Fault::Answer(429, wait, Bytes::new()));
        let blob = format!("/v2/a/blobs/{}", sha256(b"layer"));
        for path in ["/v2/a/manifests/tag", "/v2/a/tags/list", &blob] {
            let get = mirror.get(path).await;
            assert_eq!(header(&get, "retry-after"), "7", "{path}");
            assert_error(get, status, code).await;
        }
    }
}

#[tokio::test]
async fn a_challenge_is_answered_however_it_is_written() {
    for challenges in [
        &["Bearer realm=\"URL/token\""][..],
        &["Basic realm=\"x\", Bearer realm=\"URL/token\",service=\"s\""],
        &["Basic realm=\"x\"", "bearer realm=\"URL/token\""],
        &["Negotiate", "Bearer service=\"a, b\", realm=\"URL/token\""],
    ] {
        for grant in [
            r#"{"access_token":"t0k"}"#,
            r#"{"token":"","access_token":"t0k","expires_in":"300"}"#,
            r#"{"token":"t0k","access_token":"other"}"#,
        ] {
            let (upstream, here) = (Misbehaving::start().await, Data::new());
            upstream.put_image("a", "tag", b"layer");
            upstream.challenge(challenges);
            upstream.grant(grant);
            let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
            let get = mirror.get("/v2/a/manifests/tag").await;
            assert_eq!(get.status(), 200, "{challenges:?} {grant}");
        }
    }
}
