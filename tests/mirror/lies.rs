//! What comes from upstream is neither believed in form nor followed anywhere.

use axum::body::Bytes;
use portcullis::Preset;
use serde_json::json;

use crate::misbehaving::{Fault, Misbehaving};
use crate::support::{
    Data, INDEX, LONG, MANIFEST, NONE, Server, assert_error, header, image, sha256,
};
use crate::upstream::UpstreamOptions;

const TAG: &str = "/v2/a/manifests/tag";

#[tokio::test]
async fn what_is_no_manifest_neither_becomes_the_tag_nor_replaces_it() {
    let both = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [], "manifests": []});
    let schema1 = json!({"schemaVersion": 1, "name": "a", "tag": "tag", "fsLayers": []});
    let wrong_type = json!({"schemaVersion": 2, "mediaType": INDEX, "layers": []});
    for (media_type, body) in [
        ("text/html", "<html>log in</html>".to_owned()),
        (MANIFEST, "<html>log in</html>".to_owned()),
        (MANIFEST, r#"{"errors":[{"code":"DENIED"}]}"#.to_owned()),
        (MANIFEST, String::new()),
        (MANIFEST, "[]".to_owned()),
        (MANIFEST, "{}".to_owned()),
        (INDEX, both.to_string()),
        (INDEX, wrong_type.to_string()),
        (
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            schema1.to_string(),
        ),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        let (manifest, _) = upstream.put_image("a", "tag", b"layer");
        let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
        assert_eq!(mirror.get(TAG).await.status(), 200);
        let files = here.files("repositories").len();
        upstream.at("", Fault::text(200, media_type, body.clone()));
        let get = mirror.get(TAG).await;
        assert_eq!(get.bytes().await.unwrap(), manifest, "{body}");
        for reference in ["other".to_owned(), sha256(body.as_bytes()).to_string()] {
            let get = mirror.get(&format!("/v2/a/manifests/{reference}")).await;
            assert_error(get, 502, "UNAVAILABLE").await;
        }
        assert_eq!(here.files("repositories").len(), files, "{body}");
    }
}

#[tokio::test]
async fn a_manifest_is_of_the_type_that_it_says_whatever_a_header_says() {
    let manifest = image(b"{}", b"layer", &json!({}));
    for media_type in [
        "text/html",
        "application/json",
        INDEX,
        "application/octet-stream; x=y",
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        upstream.at("", Fault::text(200, media_type, manifest.clone()));
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        let get = mirror.get(TAG).await;
        assert_eq!(header(&get, "content-type"), MANIFEST, "{media_type}");
        assert_eq!(get.bytes().await.unwrap(), manifest);
    }
}

#[tokio::test]
async fn a_manifest_that_others_take_is_taken() {
    let descriptor = format!(r#"{{"digest":"{}","size":2,"urls":null}}"#, sha256(b"{}"));
    for body in [
        format!(r#"{{"schemaVersion":2,"mediaType":"","config":{descriptor},"layers":null}}"#),
        format!(r#"{{"schemaVersion":2,"layers":[{descriptor}]}}"#),
        r#"{"schemaVersion":2,"manifests":null}"#.to_owned(),
    ] {
        let (upstream, here) = (Misbehaving::start().await, Data::new());
        upstream.at("", Fault::text(200, "application/json", body.clone()));
        let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
        let get = mirror.get(TAG).await;
        assert_eq!(get.status(), 200, "{body}");
        assert_eq!(get.text().await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_head_that_lies_about_a_digest_changes_nothing() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let (manifest, _) = upstream.put_image("a", "tag", b"layer");
    let mirror = Server::mirror(&here, &upstream.url(), NONE).await;
    assert_eq!(mirror.get(TAG).await.status(), 200);
    let digest = vec![("docker-content-digest", sha256(b"other").to_string())];
    upstream.at("HEAD ", Fault::Answer(200, digest, Bytes::new()));
    let get = mirror.get(TAG).await;
    assert_eq!(get.bytes().await.unwrap(), manifest);
}

#[tokio::test]
async fn a_redirect_is_not_followed_to_an_address_that_is_not_public() {
    let (upstream, inside, here) = (
        Misbehaving::start().await,
        Misbehaving::start().await,
        Data::new(),
    );
    let (manifest, digest) = inside.put_image("a", "tag", b"layer");
    inside.put("/metrics", MANIFEST, manifest);
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let port = inside.server.address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "2130706433",
    ] {
        for status in [301, 302, 303, 307, 308] {
            let there = format!("http://{host}:{port}/metrics");
            upstream.at(
                "",
                Fault::Answer(status, vec![("location", there)], Bytes::new()),
            );
            assert_error(mirror.get(TAG).await, 502, "UNAVAILABLE").await;
            let get = mirror.get(&format!("/v2/a/blobs/{digest}")).await;
            assert_error(get, 502, "UNAVAILABLE").await;
            upstream.mend();
        }
    }
    assert_eq!(inside.asked(""), Vec::<String>::new());
    assert_eq!(here.files("repositories").len(), 0);
}

#[tokio::test]
async fn a_redirect_is_followed_to_a_host_that_the_operator_names_without_credentials() {
    let (upstream, storage, here) = (
        Misbehaving::start().await,
        Misbehaving::start().await,
        Data::new(),
    );
    let layer = storage.put_blob("a", b"layer");
    storage.put("/layer", "application/octet-stream", "layer");
    upstream.challenge(&["Bearer realm=\"URL/token\""]);
    upstream.put_image("a", "tag", b"layer");
    let options = UpstreamOptions {
        url: upstream.url(),
        redirects: vec![storage.server.host()],
        ..UpstreamOptions::default()
    };
    let mirror = Server::mirror_of(&here, &options, LONG, Preset::Mirror).await;
    assert_eq!(mirror.get(TAG).await.status(), 200);
    let there = vec![(
        "location",
        format!("{}/layer?signature=secret", storage.url()),
    )];
    upstream.at("GET /v2/a/blobs/", Fault::Answer(307, there, Bytes::new()));
    let get = mirror.get(&format!("/v2/a/blobs/{layer}")).await;
    assert_eq!(get.text().await.unwrap(), "layer");
    assert_eq!(
        upstream.headers("GET /v2/a/blobs/", "authorization"),
        ["Bearer t0k"]
    );
    assert_eq!(storage.headers("", "authorization"), [""]);
}

#[tokio::test]
async fn a_redirect_in_a_circle_ends() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    let there = vec![("location", TAG.to_owned())];
    upstream.at("", Fault::Answer(302, there, Bytes::new()));
    assert_error(mirror.get(TAG).await, 502, "UNAVAILABLE").await;
    assert_eq!(upstream.asked("").len(), 6);
}

#[tokio::test]
async fn a_token_is_not_fetched_from_an_address_that_is_not_public() {
    let (upstream, inside, here) = (
        Misbehaving::start().await,
        Misbehaving::start().await,
        Data::new(),
    );
    let mirror = Server::mirror(&here, &upstream.url(), LONG).await;
    upstream.challenge(&[&format!("Bearer realm=\"{}/token\"", inside.url())]);
    assert_error(mirror.get(TAG).await, 502, "UNAVAILABLE").await;
    assert_eq!(inside.asked(""), Vec::<String>::new());
}
