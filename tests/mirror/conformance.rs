//! The cases of the distribution-spec's conformance suite, in its order, against a registry and against a
//! mirror whose upstream has none of it.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::conformance_blobs::Way;
use crate::conformance_data::{Pushed, Set, sets};
use crate::misbehaving::Misbehaving;
use crate::store::{Algorithm, Digest};
use crate::support::{Data, INDEX, LONG, MANIFEST, Server, assert_error, header, sha256};

pub(crate) const NAME: &str = "conformance/suite";

pub(crate) struct Suite {
    pub(crate) server: Server,
    /// Whether what a manifest refers to must be here.
    complete: bool,
}

impl Suite {
    pub(crate) async fn send(&self, method: Method, path: &str, status: u16) -> Response {
        let path = format!("/v2/{NAME}/{path}");
        let request = self.server.request(method.clone(), &path);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        response
    }

    /// GET and HEAD of what is not there.
    pub(crate) async fn lacks(&self, path: &str, code: &str) {
        self.send(Method::HEAD, path, 404).await;
        let get = self.send(Method::GET, path, 404).await;
        assert_error(get, 404, code).await;
    }

    /// GET and HEAD of what is there.
    async fn has(&self, path: &str, content: &[u8], digest: &Digest) {
        for method in [Method::HEAD, Method::GET] {
            let response = self.send(method.clone(), path, 200).await;
            let told = header(&response, "docker-content-digest");
            assert_eq!(told, digest.to_string());
            assert_eq!(
                header(&response, "content-length"),
                content.len().to_string()
            );
            if method == Method::GET {
                assert!(response.bytes().await.unwrap() == content, "{path}");
            }
        }
    }

    pub(crate) async fn has_blob(&self, content: &[u8], digest: &Digest) {
        self.has(&format!("blobs/{digest}"), content, digest).await;
    }

    /// DELETE, which is done when it is answered.
    pub(crate) async fn delete(&self, path: &str, code: &str) {
        self.send(Method::DELETE, path, 202).await;
        self.lacks(path, code).await;
        self.send(Method::DELETE, path, 404).await;
    }

    async fn json(&self, path: &str) -> Value {
        let text = self.send(Method::GET, path, 200).await.text().await;
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    async fn put(&self, pushed: &Pushed) -> Response {
        let Pushed {
            content,
            digest,
            tags,
            by_digest,
        } = pushed;
        let reference = match tags.first() {
            Some(tag) if !by_digest => tag.clone(),
            _ => digest.to_string(),
        };
        let query: Vec<_> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let query = if *by_digest && !tags.is_empty() {
            format!("?{}", query.join("&"))
        } else {
            String::new()
        };
        let media_type = pushed.media_type();
        let reference = format!("{reference}{query}");
        let put = self
            .server
            .put_manifest(NAME, &reference, &media_type, content);
        put.await
    }

    /// Pushes, lists, pulls, finds by subject, and deletes.
    async fn data(&self, set: &Set) {
        for content in &set.blobs {
            let digest = Digest::of(set.algorithm, content);
            let push = self.upload(Way::PostPut, content, &digest).await;
            assert_eq!(push.status(), 201, "{}", set.name);
        }
        for pushed in &set.manifests {
            let put = self.put(pushed).await;
            assert_eq!(put.status(), 201, "{}", set.name);
            let told = header(&put, "docker-content-digest");
            assert_eq!(told, pushed.digest.to_string());
            if let Some(subject) = pushed.subject() {
                assert_eq!(header(&put, "oci-subject"), subject);
            }
            if pushed.by_digest && !pushed.tags.is_empty() {
                let told = put.headers().get_all("oci-tag").iter();
                let told: Vec<_> = told.map(|tag| tag.to_str().unwrap()).collect();
                assert_eq!(told, pushed.tags, "{}", set.name);
            }
        }
        self.list(set).await;
        for pushed in &set.manifests {
            let references = pushed.tags.iter().cloned();
            for reference in references.chain([pushed.digest.to_string()]) {
                let path = format!("manifests/{reference}");
                self.has(&path, &pushed.content, &pushed.digest).await;
                let get = self.send(Method::GET, &path, 200).await;
                assert_eq!(header(&get, "content-type"), pushed.media_type());
            }
        }
        for content in &set.blobs {
            self.has_blob(content, &Digest::of(set.algorithm, content))
                .await;
        }
        self.referrers(set).await;
        for pushed in set.manifests.iter().rev() {
            let references = pushed.tags.iter().cloned();
            for reference in references.chain([pushed.digest.to_string()]) {
                self.delete(&format!("manifests/{reference}"), "MANIFEST_UNKNOWN")
                    .await;
            }
            if let Some(subject) = pushed.subject() {
                let left = self.json(&format!("referrers/{subject}")).await;
                let left = left["manifests"].as_array().unwrap();
                let digest = json!(pushed.digest.to_string());
                assert!(left.iter().all(|entry| entry["digest"] != digest));
            }
        }
        for content in &set.blobs {
            let digest = Digest::of(set.algorithm, content);
            self.delete(&format!("blobs/{digest}"), "BLOB_UNKNOWN")
                .await;
        }
    }

    async fn list(&self, set: &Set) {
        let mut tags: Vec<_> = set.tags().collect();
        tags.sort_unstable();
        let listed = self.json("tags/list").await;
        assert_eq!(listed, json!({"name": NAME, "tags": tags}), "{}", set.name);
        assert_eq!(self.json("tags/list?n=0").await["tags"], json!([]));
        if tags.len() < 2 {
            return;
        }
        let (first, rest) = tags.split_at(tags.len() / 2);
        let last = first[first.len() - 1];
        let page = self.json(&format!("tags/list?last={last}")).await;
        assert_eq!(page["tags"], json!(rest));
        let path = format!("tags/list?n={}", first.len());
        assert_eq!(self.json(&path).await["tags"], json!(first));
        let page = self.send(Method::GET, &path, 200).await;
        assert!(header(&page, "link").ends_with("; rel=\"next\""));
    }

    async fn referrers(&self, set: &Set) {
        for subject in set.subjects() {
            let path = format!("referrers/{subject}");
            let response = self.send(Method::GET, &path, 200).await;
            assert_eq!(header(&response, "content-type"), INDEX);
            let sorted = |mut entries: Vec<Value>| {
                entries.sort_by_key(|entry| entry["digest"].to_string());
                entries
            };
            let expected = sorted(set.referrers(&subject));
            let index = self.json(&path).await;
            assert_eq!(index["schemaVersion"], 2);
            assert_eq!(index["mediaType"], INDEX);
            let found = sorted(index["manifests"].as_array().unwrap().clone());
            assert_eq!(found, expected, "{}", set.name);
            for entry in &expected {
                let kind = entry["artifactType"].as_str().unwrap();
                let filtered = format!("{path}?artifactType={}", kind.replace('+', "%2B"));
                let response = self.send(Method::GET, &filtered, 200).await;
                assert_eq!(header(&response, "oci-filters-applied"), "artifactType");
                let found = self.json(&filtered).await;
                let of_kind = expected.iter().filter(|it| it["artifactType"] == kind);
                let of_kind: Vec<_> = of_kind.cloned().collect();
                let found = sorted(found["manifests"].as_array().unwrap().clone());
                assert_eq!(found, of_kind, "{}", set.name);
            }
        }
        let none = self.json(&format!("referrers/{}", sha256(b"none"))).await;
        assert_eq!(none["manifests"], json!([]));
    }

    async fn manifest_errors(&self) {
        let none = sha256(b"none");
        self.lacks(&format!("manifests/{none}"), "MANIFEST_UNKNOWN")
            .await;
        self.lacks("manifests/missing", "MANIFEST_UNKNOWN").await;
        for kind in ["blobs", "manifests"] {
            let path = format!("{kind}/sha256:baddigeststring");
            let get = self.send(Method::GET, &path, 400).await;
            assert_error(get, 400, "DIGEST_INVALID").await;
        }
        let content = br#"{"schemaVersion":2,"manifests":[]}"#;
        let spaced = [&content[..], b"  "].concat();
        for (reference, content) in [
            ("sha256:baddigeststring".to_owned(), &content[..]),
            (sha256(content).to_string(), &spaced[..]),
        ] {
            let put = self.server.put_manifest(NAME, &reference, INDEX, content);
            assert_error(put.await, 400, "DIGEST_INVALID").await;
        }
        // What a manifest refers to and is nowhere.
        let sparse = crate::support::image(b"{}", b"nowhere", &json!({}));
        let put = self.server.put_manifest(NAME, "sparse", MANIFEST, &sparse);
        if self.complete {
            assert_error(put.await, 400, "MANIFEST_BLOB_UNKNOWN").await;
        } else {
            assert_eq!(put.await.status(), 201);
        }
    }
}

async fn pass(server: Server) {
    assert_eq!(server.get("/v2/").await.status(), 200);
    let nothing = server.get(&format!("/v2/{NAME}/tags/list")).await;
    assert_error(nothing, 404, "NAME_UNKNOWN").await;
    let complete = server.registry().pull.is_none();
    let suite = Suite { server, complete };
    let none = suite.json(&format!("referrers/{}", sha256(b"none"))).await;
    assert_eq!(none["manifests"], json!([]));
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        suite.blobs(algorithm).await;
    }
    for set in sets() {
        suite.data(&set).await;
    }
    suite.manifest_errors().await;
}

#[tokio::test]
async fn a_registry_passes_the_cases_of_the_suite() {
    let data = Data::new();
    pass(Server::start(&data).await).await;
}

#[tokio::test]
async fn a_mirror_of_an_upstream_that_has_nothing_passes_the_cases_of_the_suite() {
    let (upstream, here) = (Misbehaving::start().await, Data::new());
    pass(Server::mirror(&here, &upstream.url(), LONG).await).await;
}
