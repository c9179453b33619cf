//! end-8, end-12 and the catalog.

use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{
    Data, INDEX, MANIFEST, Server, assert_error, descriptor, header, image, sha256,
};

async fn body(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

/// Follows the `Link` headers from `path`; returns what each page has under `key`.
async fn pages(server: &Server, path: &str, key: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let response = server.get(&path).await;
        next = response.headers().get("link").map(|link| {
            let link = link.to_str().unwrap();
            let target = link.strip_prefix('<').unwrap();
            target.strip_suffix(">; rel=\"next\"").unwrap().to_owned()
        });
        found.push(body(response).await[key].take());
    }
    found
}

#[tokio::test]
async fn tags_are_listed_in_order_and_by_pages() {
    let data = Data::new();
    let server = Server::start(&data).await;
    server.push_image("a", "b", b"layer").await;
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    for tag in ["a", "C", "1.0", "_x", "z.z-9"] {
        let response = server.put_manifest("a", tag, INDEX, index).await;
        assert_eq!(response.status(), 201);
    }
    let all = json!(["1.0", "C", "_x", "a", "b", "z.z-9"]);
    let response = server.get("/v2/a/tags/list").await;
    assert_eq!(header(&response, "content-type"), "application/json");
    assert!(!response.headers().contains_key("link"));
    assert_eq!(body(response).await, json!({"name": "a", "tags": all}));
    let paged = pages(&server, "/v2/a/tags/list?n=2", "tags").await;
    assert_eq!(
        json!(paged),
        json!([["1.0", "C"], ["_x", "a"], ["b", "z.z-9"]])
    );
    let paged = pages(&server, "/v2/a/tags/list?n=4", "tags").await;
    assert_eq!(
        json!(paged),
        json!([["1.0", "C", "_x", "a"], ["b", "z.z-9"]])
    );
    for (query, expected) in [
        ("n=0", json!([])),
        ("last=a", json!(["b", "z.z-9"])),
        ("last=D", json!(["_x", "a", "b", "z.z-9"])),
        ("n=1&last=b", json!(["z.z-9"])),
        ("n=9&last=zz", json!([])),
        ("n=99999", all),
    ] {
        let paged = pages(&server, &format!("/v2/a/tags/list?{query}"), "tags").await;
        assert_eq!(json!(paged), json!([expected]), "{query}");
    }
    for query in ["n=", "n", "n=-1", "n=x", "n=99999999999999999999999"] {
        let response = server.get(&format!("/v2/a/tags/list?{query}")).await;
        assert_error(response, 400, "PAGINATION_NUMBER_INVALID").await;
    }
}

#[tokio::test]
async fn the_tags_of_an_unknown_repository_are_unknown() {
    let data = Data::new();
    let server = Server::start(&data).await;
    server.push_image("a/b", "tag", b"layer").await;
    for path in ["/v2/a/tags/list", "/v2/a/b/c/tags/list"] {
        assert_error(server.get(path).await, 404, "NAME_UNKNOWN").await;
    }
}

#[tokio::test]
async fn the_catalog_names_the_repositories_that_have_manifests() {
    let data = Data::new();
    let server = Server::start(&data).await;
    for repository in ["b", "a/nested/one", "a", "tags/list"] {
        server.push_image(repository, "tag", b"layer").await;
    }
    server.push_blob("only/blobs", b"layer").await;
    let response = server.get("/v2/_catalog").await;
    let all = json!(["a", "a/nested/one", "b", "tags/list"]);
    assert_eq!(body(response).await, json!({"repositories": all}));
    let paged = pages(&server, "/v2/_catalog?n=1", "repositories").await;
    assert_eq!(
        json!(paged),
        json!([["a"], ["a/nested/one"], ["b"], ["tags/list"]])
    );
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let (manifest, subject) = server.push_image("a", "tag", b"layer").await;
    let named = descriptor(MANIFEST, &manifest);
    let annotations = json!({"org.example": "yes"});
    let signature = image(
        b"{}",
        b"layer",
        &json!({"subject": named, "artifactType": "sig/1", "annotations": annotations}),
    );
    // Its config's media type stands in.
    let sbom = image(b"{}", b"layer", &json!({"subject": named}));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": named});
    let index = serde_json::to_vec(&index).unwrap();
    for (media_type, content) in [(MANIFEST, &signature), (MANIFEST, &sbom), (INDEX, &index)] {
        let digest = sha256(content).to_string();
        let response = server.put_manifest("a", &digest, media_type, content).await;
        assert_eq!(response.status(), 201);
        assert_eq!(header(&response, "oci-subject"), subject.to_string());
    }
    let path = format!("/v2/a/referrers/{subject}");
    let response = server.get(&path).await;
    assert_eq!(header(&response, "content-type"), INDEX);
    assert!(!response.headers().contains_key("oci-filters-applied"));
    let found = body(response).await;
    assert_eq!(found["mediaType"], INDEX);
    assert_eq!(found["schemaVersion"], 2);
    let config = "application/vnd.oci.image.config.v1+json";
    let entry = |media_type: &str, content: &[u8], artifact_type: Value| {
        let mut entry = descriptor(media_type, content);
        if !artifact_type.is_null() {
            entry["artifactType"] = artifact_type;
        }
        entry
    };
    let mut first = entry(MANIFEST, &signature, json!("sig/1"));
    first["annotations"] = annotations;
    let mut expected = vec![
        first.clone(),
        entry(MANIFEST, &sbom, json!(config)),
        entry(INDEX, &index, Value::Null),
    ];
    expected.sort_by_key(|entry| entry["digest"].as_str().unwrap().to_owned());
    assert_eq!(found["manifests"], json!(expected));

    let response = server.get(&format!("{path}?artifactType=sig/1")).await;
    assert_eq!(header(&response, "oci-filters-applied"), "artifactType");
    assert_eq!(body(response).await["manifests"], json!([first]));
    let response = server.get(&format!("{path}?artifactType=other")).await;
    assert_eq!(body(response).await["manifests"], json!([]));

    let gone = format!("/v2/a/manifests/{}", sha256(&signature));
    assert_eq!(server.delete(&gone).await.status(), 202);
    let response = server.get(&format!("{path}?artifactType=sig/1")).await;
    assert_eq!(body(response).await["manifests"], json!([]));
}

#[tokio::test]
async fn a_referrer_may_come_before_its_subject() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let subject = sha256(b"not there yet");
    let index = json!({"schemaVersion": 2, "manifests": [], "subject": {"mediaType": MANIFEST, "size": 1, "digest": subject.to_string()}});
    let index = serde_json::to_vec(&index).unwrap();
    let response = server.put_manifest("a", "tag", INDEX, &index).await;
    assert_eq!(response.status(), 201);
    let found = body(server.get(&format!("/v2/a/referrers/{subject}")).await).await;
    assert_eq!(found["manifests"][0]["digest"], sha256(&index).to_string());
    // In another repository, and of another manifest: none, not 404.
    for path in [
        format!("/v2/b/referrers/{subject}"),
        format!("/v2/a/referrers/{}", sha256(b"")),
    ] {
        assert_eq!(body(server.get(&path).await).await["manifests"], json!([]));
    }
    assert_eq!(server.get("/v2/a/referrers/sha256:bad").await.status(), 400);
}

#[tokio::test]
async fn referrers_that_make_no_single_manifest_come_by_pages() {
    let data = Data::new();
    let server = Server::start(&data).await;
    let subject = sha256(b"subject");
    let mut pushed = Vec::new();
    for number in 0..5 {
        let index = json!({
            "schemaVersion": 2,
            "manifests": [],
            "subject": {"mediaType": MANIFEST, "size": 1, "digest": subject.to_string()},
            "artifactType": "a+b/c d",
            "annotations": {"number": number.to_string(), "long": "x".repeat(1_300_000)},
        });
        let index = serde_json::to_vec(&index).unwrap();
        let digest = sha256(&index).to_string();
        let response = server.put_manifest("a", &digest, INDEX, &index).await;
        assert_eq!(response.status(), 201);
        pushed.push(digest);
    }
    pushed.sort();
    for query in ["", "?artifactType=a%2Bb/c%20d"] {
        let path = format!("/v2/a/referrers/{subject}{query}");
        let found = pages(&server, &path, "manifests").await;
        assert_eq!(found.len(), 3);
        let digests = found.iter().flat_map(|page| page.as_array().unwrap());
        let digests: Vec<_> = digests
            .map(|entry| entry["digest"].as_str().unwrap())
            .collect();
        assert_eq!(digests, pushed);
    }
}
