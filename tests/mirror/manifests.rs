//! end-3, end-7, end-9.

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Data, INDEX, MANIFEST, Server, assert_error, descriptor, header, image, sha256, sha512,
};

#[tokio::test]
async fn a_manifest_comes_back_by_tag_and_by_digest_as_it_was_pushed() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let (manifest, digest) = server.push_image("lib/busybox", "1.0", b"layer").await;
    for reference in ["1.0".to_owned(), digest.to_string()] {
        let path = format!("/v2/lib/busybox/manifests/{reference}");
        let get = server.get(&path).await;
        assert_eq!(get.status(), 200);
        assert_eq!(header(&get, "content-type"), MANIFEST);
        assert_eq!(header(&get, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&get, "content-length"), manifest.len().to_string());
        assert_eq!(get.bytes().await.unwrap(), manifest);
        let head = server.head(&path).await;
        assert_eq!(head.status(), 200);
        assert_eq!(header(&head, "content-type"), MANIFEST);
        assert_eq!(header(&head, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&head, "content-length"), manifest.len().to_string());
    }
    let request = server.request(Method::GET, "/v2/lib/busybox/manifests/1.0");
    let request = request.header("if-none-match", format!("\"{digest}\""));
    assert_eq!(request.send().await.unwrap().status(), 304);
}

#[tokio::test]
async fn a_manifest_that_is_not_there_is_unknown() {
    let data = Data::new();
    let server = Server::start(&data).await;
    server.push_image("a", "tag", b"layer").await;
    for path in [
        "/v2/a/manifests/other".to_owned(),
        "/v2/b/manifests/tag".to_owned(),
        format!("/v2/a/manifests/{}", sha256(b"other")),
    ] {
        assert_error(server.get(&path).await, 404, "MANIFEST_UNKNOWN").await;
        assert_eq!(server.head(&path).await.status(), 404);
        assert_error(server.delete(&path).await, 404, "MANIFEST_UNKNOWN").await;
    }
}

#[tokio::test]
async fn a_push_answers_with_location_digest_and_tags() {
    let data = Data::new();
    let server = Server::start(&data).await;
    server.push_blob("a", b"{}").await;
    server.push_blob("a", b"layer").await;
    let manifest = image(b"{}", b"layer", &json!({}));
    let digest = sha256(&manifest);
    let tagged = server.put_manifest("a", "v1", MANIFEST, &manifest).await;
    assert_eq!(tagged.status(), 201);
    assert_eq!(
        header(&tagged, "location"),
        format!("/v2/a/manifests/{digest}")
    );
    assert_eq!(header(&tagged, "docker-content-digest"), digest.to_string());
    assert_eq!(header(&tagged, "oci-tag"), "v1");
    assert!(!tagged.headers().contains_key("oci-subject"));
    let query: Vec<String> = (0..10).map(|number| format!("tag=t{number}")).collect();
    let reference = format!("{digest}?{}", query.join("&"));
    let response = server
        .put_manifest("a", &reference, MANIFEST, &manifest)
        .await;
    assert_eq!(response.status(), 201);
    let tags = response.headers().get_all("oci-tag").iter();
    let tags: Vec<_> = tags.map(|value| value.to_str().unwrap()).collect();
    let expected: Vec<String> = (0..10).map(|number| format!("t{number}")).collect();
    assert_eq!(tags, expected);
    for tag in expected {
        let head = server.head(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!(header(&head, "docker-content-digest"), digest.to_string());
    }
}

#[tokio::test]
async fn a_push_by_digest_sets_no_tag_and_must_have_that_digest() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": []})).unwrap();
    for digest in [sha256(&index).to_string(), sha512(&index).to_string()] {
        let response = server.put_manifest("a", &digest, INDEX, &index).await;
        assert_eq!(response.status(), 201);
        assert!(!response.headers().contains_key("oci-tag"));
        let get = server.get(&format!("/v2/a/manifests/{digest}")).await;
        assert_eq!(header(&get, "docker-content-digest"), digest);
    }
    let tags = server.get("/v2/a/tags/list").await.text().await.unwrap();
    assert_eq!(tags, r#"{"name":"a","tags":[]}"#);
    let other = sha256(b"other").to_string();
    let response = server.put_manifest("a", &other, INDEX, &index).await;
    assert_error(response, 400, "DIGEST_INVALID").await;
    assert_eq!(
        server
            .get(&format!("/v2/a/manifests/{other}"))
            .await
            .status(),
        404
    );
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = sha256(b"x");
    let one = format!(r#"{{"mediaType":"x/y","size":1,"digest":"{digest}"}}"#);
    let with = |fields: &str| format!(r#"{{"schemaVersion":2,{fields}}}"#);
    let bad = [
        (MANIFEST, String::new()),
        (MANIFEST, "not json".to_owned()),
        (MANIFEST, "[]".to_owned()),
        (MANIFEST, "<html><body>sign in</body></html>".to_owned()),
        (MANIFEST, r#"{"errors":[{"code":"DENIED"}]}"#.to_owned()),
        // No schema version, or another.
        (INDEX, r#"{"manifests":[]}"#.to_owned()),
        (INDEX, r#"{"schemaVersion":1,"manifests":[]}"#.to_owned()),
        (INDEX, r#"{"schemaVersion":"2","manifests":[]}"#.to_owned()),
        (MANIFEST, with(r#""layers":"none""#)),
        (MANIFEST, with(r#""a":1"#)),
        // One document for two readers.
        (MANIFEST, with(r#""layers":[],"manifests":[]"#)),
        (INDEX, with(&format!(r#""config":{one},"manifests":[]"#))),
        (MANIFEST, with(r#""layers":null,"manifests":null"#)),
        (INDEX, with(r#""manifests":[],"Layers":[]"#)),
        (INDEX, with("\"manifests\":[],\"layer\u{17f}\":[]")),
        (INDEX, with(r#""manifests":[],"manifests":[]"#)),
        // A type that is not that of what it holds, or not one that a registry gives.
        (
            INDEX,
            with(&format!(r#""mediaType":"{INDEX}","layers":[]"#)),
        ),
        (
            MANIFEST,
            with(&format!(r#""mediaType":"{MANIFEST}","manifests":[]"#)),
        ),
        ("text/html", with(r#""mediaType":"text/html","layers":[]"#)),
        (
            "application/xhtml+xml",
            with(r#""mediaType":"application/xhtml+xml","layers":[]"#),
        ),
        // A header that says something else than the content.
        (
            INDEX,
            with(&format!(r#""mediaType":"{MANIFEST}","layers":[]"#)),
        ),
        (INDEX, with(r#""layers":[]"#)),
        ("application/vnd.example+json", with(r#""layers":[]"#)),
        (
            INDEX,
            with(r#""manifests":[{"mediaType":"x","size":1,"digest":"bad"}]"#),
        ),
        (INDEX, with(r#""manifests":[{"mediaType":"x","size":1}]"#)),
        (
            INDEX,
            with(&format!(r#""manifests":[["x/y","{digest}",1,[]]]"#)),
        ),
        (
            INDEX,
            with(r#""manifests":[],"subject":{"mediaType":"x","size":1,"digest":"bad"}"#),
        ),
    ];
    for (media_type, content) in bad {
        let put = server.put_manifest("a", "tag", media_type, content.as_bytes());
        let response = put.await;
        assert_eq!(response.status(), 400, "{content}");
        assert_error(response, 400, "MANIFEST_INVALID").await;
    }
    assert_eq!(server.get("/v2/a/manifests/tag").await.status(), 404);
    let response = server.put_manifest("a", "-bad", INDEX, b"{}").await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn a_manifest_of_which_two_readers_read_two_things_is_refused() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = sha256(b"x");
    let with = |fields: &str| format!(r#"{{"schemaVersion":2,{fields}}}"#);
    let list = |fields: &str| with(&format!(r#""manifests":[{{{fields}}}]"#));
    for content in [
        with(r#""manifests":[],"x":1,"x":2"#),
        with(r#""manifests":[],"x":[{"y":1,"y":2}]"#),
        with(r#""manifests":[],"annotations":{"a":"1","a":"2"}"#),
        list(&format!(r#""digest":"{digest}","digest":"{digest}""#)),
        list(&format!(r#""digest":"{digest}","Digest":"{digest}""#)),
        list(&format!(r#""digest":"{digest}","mediatype":"x""#)),
        list(&format!(r#""digest":"{digest}","size":1,"size":2"#)),
        list(&format!(r#""digest":"{digest}","size":-1"#)),
        list(&format!(
            r#""digest":"{digest}","platform":{{"os":"a","os":"b"}}"#
        )),
        list(&format!(
            r#""digest":"{digest}","platform":{{"OS":"a","os":"b"}}"#
        )),
        list(&format!(
            r#""digest":"{digest}","annotations":{{"a":"1","a":"2"}}"#
        )),
    ] {
        let put = server.put_manifest("a", "tag", INDEX, content.as_bytes());
        let response = put.await;
        assert_eq!(response.status(), 400, "{content}");
        assert_error(response, 400, "MANIFEST_INVALID").await;
    }
    let one = list(&format!(r#""digest":"{digest}","platform":{{"os":"a"}}"#));
    let put = server.put_manifest("a", "tag", INDEX, one.as_bytes()).await;
    assert_eq!(put.status(), 201);
}

#[tokio::test]
async fn what_other_registries_take_for_a_manifest_is_taken() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let digest = server.push_blob("a", b"x").await;
    let one = format!(r#"{{"mediaType":"","urls":null,"size":1,"digest":"{digest}"}}"#);
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    for (media_type, content) in [
        (
            MANIFEST,
            format!(r#"{{"schemaVersion":2,"config":{one},"layers":null}}"#),
        ),
        (
            MANIFEST,
            format!(
                r#"{{"schemaVersion":2,"mediaType":"","config":{one},"layers":[{one}],"annotations":null}}"#
            ),
        ),
        (
            INDEX,
            r#"{"schemaVersion":2,"manifests":[],"layers":null,"mediaType":null}"#.to_owned(),
        ),
        (
            "application/vnd.docker.distribution.manifest.v2+json",
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{one},"layers":[{one}]}}"#
            ),
        ),
        (
            artifact,
            format!(r#"{{"mediaType":"{artifact}","blobs":[{one}],"x":{{"Layers":1}}}}"#),
        ),
        // As clients in Go read it: no size is 0, and no text an empty one.
        (
            MANIFEST,
            format!(
                r#"{{"schemaVersion":2,"layers":[{{"digest":"{digest}"}},{{"digest":"{digest}","size":null,"mediaType":null,"annotations":{{"a":null,"A":"x"}}}}],"annotations":{{"a":null}}}}"#
            ),
        ),
    ] {
        let put = server.put_manifest("a", "tag", media_type, content.as_bytes());
        let response = put.await;
        assert_eq!(response.status(), 201, "{content}");
        let get = server.get("/v2/a/manifests/tag").await;
        assert_eq!(header(&get, "content-type"), media_type);
        assert_eq!(get.text().await.unwrap(), content);
    }
}

#[tokio::test]
async fn the_same_bytes_with_another_type_do_not_change_the_type_for_all() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let content = br#"{"schemaVersion":2,"manifests":[]}"#;
    assert_eq!(
        server
            .put_manifest("a", "tag", INDEX, content)
            .await
            .status(),
        201
    );
    for other in [MANIFEST, "text/html", "application/json"] {
        let response = server.put_manifest("a", "tag", other, content).await;
        assert_error(response, 400, "MANIFEST_INVALID").await;
        let get = server.get("/v2/a/manifests/tag").await;
        assert_eq!(header(&get, "content-type"), INDEX);
    }
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_not_in_its_repository_is_refused() {
    let data = Data::new();
    let server = Server::start(&data).await;
    server.push_blob("a", b"{}").await;
    server.push_blob("b", b"layer").await;
    let manifest = image(b"{}", b"layer", &json!({}));
    let response = server.put_manifest("a", "tag", MANIFEST, &manifest).await;
    assert_eq!(response.status(), 400);
    let body: serde_json::Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body["errors"].as_array().unwrap().len(), 1);
    assert_eq!(body["errors"][0]["code"], "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(
        body["errors"][0]["detail"]["digest"],
        sha256(b"layer").to_string()
    );
    assert_eq!(server.get("/v2/a/manifests/tag").await.status(), 404);
    // A layer that may be kept elsewhere only need not be here.
    let mut foreign = descriptor(
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        b"layer",
    );
    foreign["urls"] = json!(["https://elsewhere.example/layer"]);
    let manifest = image(b"{}", b"", &json!({"layers": [foreign]}));
    let response = server.put_manifest("a", "tag", MANIFEST, &manifest).await;
    assert_eq!(response.status(), 201);
}

#[tokio::test]
async fn a_manifest_of_4_mib_is_taken_and_a_boundless_one_is_not() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let sized = |size: usize| {
        let frame = r#"{"schemaVersion":2,"manifests":[],"annotations":{"a":""}}"#;
        format!(
            r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"a":"{}"}}}}"#,
            "x".repeat(size - frame.len())
        )
        .into_bytes()
    };
    let whole = sized(4 * 1024 * 1024);
    let response = server.put_manifest("a", "whole", INDEX, &whole).await;
    assert_eq!(response.status(), 201);
    let get = server.get("/v2/a/manifests/whole").await;
    assert!(get.bytes().await.unwrap() == whole);
    let long = sized(crate::store::MAX_MANIFEST + 1);
    let response = server.put_manifest("a", "long", INDEX, &long).await;
    assert_error(response, 413, "SIZE_INVALID").await;
    // Without a Content-Length to see it by.
    let pieces = long
        .chunks(100_000)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let pieces: Vec<_> = pieces.collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let request = server
        .request(Method::PUT, "/v2/a/manifests/long")
        .body(body);
    // The server may close while the client still writes.
    if let Ok(response) = request.send().await {
        assert_error(response, 413, "SIZE_INVALID").await;
    }
    assert_eq!(server.get("/v2/a/manifests/long").await.status(), 404);
}

#[tokio::test]
async fn a_media_type_is_what_the_manifest_says() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let other = "application/vnd.example+json";
    let own = format!(r#"{{"schemaVersion":2,"mediaType":"{other}","layers":[]}}"#);
    let parameters = format!("{other}; charset=utf-8");
    for (tag, header_value, content, expected) in [
        ("a", Some(&*parameters), &*own, other),
        ("b", None, &*own, other),
        ("c", None, r#"{"schemaVersion":2,"manifests":[]}"#, INDEX),
        ("d", None, r#"{"schemaVersion":2,"layers":[]}"#, MANIFEST),
    ] {
        let mut request = server.request(Method::PUT, &format!("/v2/r/manifests/{tag}"));
        if let Some(value) = header_value {
            request = request.header("content-type", value);
        }
        let response = request.body(content.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 201, "{tag}");
        let get = server.get(&format!("/v2/r/manifests/{tag}")).await;
        assert_eq!(header(&get, "content-type"), expected);
    }
}

#[tokio::test]
async fn a_tag_moves_and_the_old_manifest_stays() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let (_, first) = server.push_image("a", "latest", b"one").await;
    let (_, second) = server.push_image("a", "latest", b"two").await;
    let head = server.head("/v2/a/manifests/latest").await;
    assert_eq!(header(&head, "docker-content-digest"), second.to_string());
    assert_eq!(
        server
            .get(&format!("/v2/a/manifests/{first}"))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn deleting_a_tag_leaves_the_manifest_and_other_tags() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let (_, digest) = server.push_image("a", "one", b"layer").await;
    server.push_image("a", "two", b"layer").await;
    assert_eq!(server.delete("/v2/a/manifests/one").await.status(), 202);
    assert_eq!(server.get("/v2/a/manifests/one").await.status(), 404);
    assert_eq!(server.get("/v2/a/manifests/two").await.status(), 200);
    assert_eq!(
        server
            .get(&format!("/v2/a/manifests/{digest}"))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn deleting_a_manifest_deletes_the_tags_that_point_to_it() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let (_, digest) = server.push_image("a", "one", b"layer").await;
    server.push_image("a", "two", b"layer").await;
    server.push_image("a", "three", b"other").await;
    assert_eq!(
        server
            .delete(&format!("/v2/a/manifests/{digest}"))
            .await
            .status(),
        202
    );
    for reference in ["one", "two", &digest.to_string()] {
        let response = server.get(&format!("/v2/a/manifests/{reference}")).await;
        assert_error(response, 404, "MANIFEST_UNKNOWN").await;
    }
    let tags = server.get("/v2/a/tags/list").await.text().await.unwrap();
    assert_eq!(tags, r#"{"name":"a","tags":["three"]}"#);
}
