//! The cases of the distribution-spec's conformance suite, in its order, against a registry and against a
//! mirror whose upstream has none of it.

use reqwest::{Body, Method, Response};
use serde_json::{Value, json};

use crate::conformance_data::{Pushed, Set, sets};
use crate::misbehaving::Misbehaving;
use crate::store::{Algorithm, Digest};
use crate::support::{Data, INDEX, LONG, MANIFEST, Server, assert_error, header, noise, sha256};

const NAME: &str = "conformance/suite";
const OTHER: &str = "conformance/other";
const CHUNK: usize = 1024;

struct Suite {
    server: Server,
    /// Whether what a manifest refers to must be here.
    complete: bool,
}

/// The ways to push a blob.
#[derive(Clone, Copy, Debug)]
enum Way {
    Post,
    PostPut,
    Stream,
    Chunks {
        last_in_put: bool,
        out_of_order: bool,
    },
}

const WAYS: [Way; 7] = [
    Way::Post,
    Way::PostPut,
    Way::Stream,
    Way::Chunks {
        last_in_put: false,
        out_of_order: false,
    },
    Way::Chunks {
        last_in_put: true,
        out_of_order: false,
    },
    Way::Chunks {
        last_in_put: false,
        out_of_order: true,
    },
    Way::Chunks {
        last_in_put: true,
        out_of_order: true,
    },
];

impl Suite {
    async fn send(&self, method: Method, path: &str, status: u16) -> Response {
        let path = format!("/v2/{NAME}/{path}");
        let request = self.server.request(method.clone(), &path);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        response
    }

    /// GET and HEAD of what is not there.
    async fn lacks(&self, path: &str, code: &str) {
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

    async fn has_blob(&self, content: &[u8], digest: &Digest) {
        self.has(&format!("blobs/{digest}"), content, digest).await;
    }

    /// DELETE, which is done when it is answered.
    async fn delete(&self, path: &str, code: &str) {
        self.send(Method::DELETE, path, 202).await;
        self.lacks(path, code).await;
        self.send(Method::DELETE, path, 404).await;
    }

    async fn json(&self, path: &str) -> Value {
        let text = self.send(Method::GET, path, 200).await.text().await;
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    async fn patch(&self, location: &str, start: usize, chunk: &[u8]) -> Response {
        let range = format!("{start}-{}", start + chunk.len() - 1);
        self.server.patch(location, Some(&range), chunk).await
    }

    /// Pushes a blob; returns the last answer.
    async fn upload(&self, way: Way, content: &[u8], digest: &Digest) -> Response {
        if let Way::Post = way {
            let path = format!("/v2/{NAME}/blobs/uploads/?digest={digest}");
            return self.server.post(&path, content.to_vec()).await;
        }
        let mut location = self.server.begin(NAME).await;
        let (mut last, mut range) = (Vec::new(), None);
        match way {
            Way::Post => {}
            Way::PostPut => last = content.to_vec(),
            Way::Stream => {
                let pieces = content.chunks(100).map(|piece| Ok(piece.to_vec()));
                let pieces: Vec<std::io::Result<_>> = pieces.collect();
                let body = Body::wrap_stream(futures_util::stream::iter(pieces));
                let patch = self.server.request(Method::PATCH, &location).body(body);
                let patch = patch.send().await.unwrap();
                assert_eq!(patch.status(), 202);
                location = header(&patch, "location");
            }
            Way::Chunks {
                last_in_put,
                out_of_order,
            } => {
                let chunks: Vec<_> = content.chunks(CHUNK).collect();
                let in_put = usize::from(last_in_put);
                for (number, chunk) in chunks[..chunks.len() - in_put].iter().enumerate() {
                    let start = number * CHUNK;
                    if out_of_order && let Some(next) = chunks.get(number + 1) {
                        let early = self.patch(&location, start + CHUNK, next).await;
                        assert_eq!(early.status(), 416);
                    }
                    let patch = self.patch(&location, start, chunk).await;
                    assert_eq!(patch.status(), 202);
                    let so_far = format!("0-{}", start + chunk.len() - 1);
                    assert_eq!(header(&patch, "range"), so_far);
                    location = header(&patch, "location");
                    if out_of_order {
                        let again = self.patch(&location, start, chunk).await;
                        assert_eq!(again.status(), 416);
                        let status = self.server.get(&location).await;
                        assert_eq!(status.status(), 204);
                        assert_eq!(header(&status, "range"), so_far);
                        location = header(&status, "location");
                    }
                }
                if last_in_put {
                    last = chunks[chunks.len() - 1].to_vec();
                    let start = content.len() - last.len();
                    range = Some(format!("{start}-{}", content.len() - 1));
                }
            }
        }
        let path = format!("{location}?digest={digest}");
        let request = self.server.request(Method::PUT, &path);
        let request = match range {
            Some(range) => request.header("content-range", range),
            None => request,
        };
        request.body(last).send().await.unwrap()
    }

    async fn blobs(&self, algorithm: Algorithm) {
        let digest_of = |content: &[u8]| Digest::of(algorithm, content);
        let none = digest_of(b"none");
        self.lacks(&format!("blobs/{none}"), "BLOB_UNKNOWN").await;
        for (number, way) in WAYS.into_iter().enumerate() {
            // Of three chunks, the last of which is shorter; and what comes in one chunk.
            for length in [3 * CHUNK - 5 - number, 512 - number] {
                let content = noise(length);
                let digest = digest_of(&content);
                let push = self.upload(way, &content, &digest).await;
                assert_eq!(push.status(), 201, "{way:?}");
                let blob = self.server.get(&header(&push, "location")).await;
                assert!(blob.bytes().await.unwrap() == content, "{way:?}");
                self.has_blob(&content, &digest).await;
                let path = format!("blobs/{digest}");
                self.delete(&path, "BLOB_UNKNOWN").await;
                let wrong = [&content[..], b"oh no"].concat();
                let push = self.upload(way, &wrong, &digest).await;
                assert_error(push, 400, "DIGEST_INVALID").await;
                self.lacks(&path, "BLOB_UNKNOWN").await;
            }
        }
        for content in [&b""[..], b"{}"] {
            let digest = digest_of(content);
            let push = self.upload(Way::PostPut, content, &digest).await;
            assert_eq!(push.status(), 201);
            self.has_blob(content, &digest).await;
            self.delete(&format!("blobs/{digest}"), "BLOB_UNKNOWN")
                .await;
        }
        self.mounts(algorithm).await;
        self.cancel(algorithm).await;
        self.ranges(algorithm).await;
    }

    async fn mounts(&self, algorithm: Algorithm) {
        let content = noise(512);
        let digest = Digest::of(algorithm, &content);
        let push = self.upload(Way::PostPut, &content, &digest).await;
        assert_eq!(push.status(), 201);
        let mount = async |digest: &Digest, from: &str| {
            let path = format!("/v2/{OTHER}/blobs/uploads/?mount={digest}{from}");
            self.server.post(&path, "").await
        };
        let from = format!("&from={NAME}");
        // Anonymously nothing is mounted: that a digest is known gives no right to what it names.
        let none = Digest::of(algorithm, b"none");
        for (digest, from) in [(&none, &*from), (&digest, "")] {
            let answer = mount(digest, from).await;
            assert_eq!(answer.status(), 202);
            let location = header(&answer, "location");
            assert_eq!(self.server.get(&location).await.status(), 204);
        }
        let mounted = mount(&digest, &from).await;
        assert_eq!(mounted.status(), 201);
        let location = header(&mounted, "location");
        let blob = self.server.get(&location).await;
        assert!(blob.bytes().await.unwrap() == content);
        assert_eq!(self.server.delete(&location).await.status(), 202);
        self.has_blob(&content, &digest).await;
        self.delete(&format!("blobs/{digest}"), "BLOB_UNKNOWN")
            .await;
    }

    async fn cancel(&self, algorithm: Algorithm) {
        let content = noise(512);
        let location = self.server.begin(NAME).await;
        let patch = self.patch(&location, 0, &content).await;
        assert_eq!(patch.status(), 202);
        assert_eq!(self.server.delete(&location).await.status(), 204);
        assert_eq!(self.server.get(&location).await.status(), 404);
        let digest = Digest::of(algorithm, &content);
        let put = self.server.put(&location, &digest, b"").await;
        assert_error(put, 404, "BLOB_UPLOAD_UNKNOWN").await;
        self.lacks(&format!("blobs/{digest}"), "BLOB_UNKNOWN").await;
    }

    async fn ranges(&self, algorithm: Algorithm) {
        let content = noise(2048);
        let digest = Digest::of(algorithm, &content);
        let push = self.upload(Way::Post, &content, &digest).await;
        assert_eq!(push.status(), 201);
        let path = format!("/v2/{NAME}/blobs/{digest}");
        for (range, part) in [
            ("500-1499", Some(500..1500)),
            ("500-", Some(500..2048)),
            ("-500", Some(1548..2048)),
            ("2000-5000", Some(2000..2048)),
            ("500-0", None),
            ("5000-10000", None),
        ] {
            let request = self.server.request(Method::GET, &path);
            let request = request.header("range", format!("bytes={range}"));
            let response = request.send().await.unwrap();
            let Some(part) = part else {
                assert_eq!(response.status(), 416, "{range}");
                continue;
            };
            assert_eq!(response.status(), 206, "{range}");
            assert_eq!(header(&response, "content-length"), part.len().to_string());
            let place = format!("bytes {}-{}/2048", part.start, part.end - 1);
            assert_eq!(header(&response, "content-range"), place);
            assert!(response.bytes().await.unwrap() == content[part], "{range}");
        }
        self.delete(&format!("blobs/{digest}"), "BLOB_UNKNOWN")
            .await;
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
