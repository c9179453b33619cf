//! The cases of the distribution-spec's conformance suite, in its order, against a registry and against a
//! mirror whose upstream has none of it.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::misbehaving::Misbehaving;
use crate::support::{
    Data, INDEX, LONG, MANIFEST, Server, assert_error, descriptor, header, image, noise, sha256,
};

const NAME: &str = "conformance/suite";

struct Suite(Server);

impl Suite {
    async fn send(&self, method: Method, path: &str, status: u16) -> Response {
        let path = format!("/v2/{NAME}/{path}");
        let response = self.0.request(method.clone(), &path).send().await.unwrap();
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
    async fn has(&self, path: &str, content: &[u8]) {
        for method in [Method::HEAD, Method::GET] {
            let response = self.send(method.clone(), path, 200).await;
            let digest = header(&response, "docker-content-digest");
            assert_eq!(digest, sha256(content).to_string());
            assert_eq!(
                header(&response, "content-length"),
                content.len().to_string()
            );
            if method == Method::GET {
                assert!(response.bytes().await.unwrap() == content, "{path}");
            }
        }
    }

    async fn json(&self, path: &str) -> Value {
        let text = self.send(Method::GET, path, 200).await.text().await;
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    async fn put(&self, reference: &str, content: &[u8]) -> Response {
        let value: Value = serde_json::from_slice(content).unwrap();
        let media_type = value["mediaType"].as_str().unwrap().to_owned();
        let put = self.0.put_manifest(NAME, reference, &media_type, content);
        let response = put.await;
        assert_eq!(response.status(), 201, "{reference}");
        response
    }

    /// Begins an upload and sends a chunk, or all.
    async fn patch(&self, location: &str, range: Option<&str>, chunk: &[u8]) -> Response {
        let request = self.0.request(Method::PATCH, location);
        let request = request.header("content-type", "application/octet-stream");
        let request = match range {
            Some(range) => request.header("content-range", range),
            None => request,
        };
        request.body(chunk.to_vec()).send().await.unwrap()
    }

    async fn finish(&self, location: &str, content: &[u8], last: &[u8]) {
        let target = format!("{location}?digest={}", sha256(content));
        let request = self.0.request(Method::PUT, &target).body(last.to_vec());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 201);
        let blob = header(&response, "location");
        let found = self.0.get(&blob).await.bytes().await.unwrap();
        assert!(found == content);
    }

    async fn pull(&self) {
        let none = sha256(b"none");
        self.lacks(&format!("blobs/{none}"), "BLOB_UNKNOWN").await;
        self.lacks(&format!("manifests/{none}"), "MANIFEST_UNKNOWN")
            .await;
        self.lacks("manifests/none", "MANIFEST_UNKNOWN").await;
        for path in ["blobs/sha256:totallywrong", "manifests/sha256:totallywrong"] {
            self.send(Method::GET, path, 400).await;
        }
        let (manifest, digest) = self.0.push_image(NAME, "tagtest0", b"layer").await;
        self.has(&format!("blobs/{}", sha256(b"layer")), b"layer")
            .await;
        self.has(&format!("manifests/{digest}"), &manifest).await;
        self.has("manifests/tagtest0", &manifest).await;
    }

    async fn push(&self) {
        // Streamed.
        let streamed = noise(300_000);
        let location = self.0.begin(NAME).await;
        let patch = self.patch(&location, None, &streamed).await;
        assert_eq!(patch.status(), 202);
        self.finish(&header(&patch, "location"), &streamed, b"")
            .await;
        // In one piece, after a POST and with it.
        let whole = noise(200_000);
        let location = self.0.begin(NAME).await;
        self.finish(&location, &whole, &whole).await;
        self.0.push_blob(NAME, &noise(1000)).await;
        // In chunks: out of order, again, and as far as it has come.
        let chunked = noise(100_000);
        let (first, last) = chunked.split_at(60_000);
        let location = self.0.begin(NAME).await;
        let early = self.patch(&location, Some("60000-99999"), last).await;
        assert_eq!(early.status(), 416);
        let patch = self.patch(&location, Some("0-59999"), first).await;
        assert_eq!(patch.status(), 202);
        assert_eq!(header(&patch, "range"), "0-59999");
        let location = header(&patch, "location");
        let again = self.patch(&location, Some("0-59999"), first).await;
        assert_eq!(again.status(), 416);
        let status = self.0.get(&location).await;
        assert_eq!(status.status(), 204);
        assert_eq!(header(&status, "range"), "0-59999");
        let location = header(&status, "location");
        let patch = self.patch(&location, Some("60000-99999"), last).await;
        assert_eq!(patch.status(), 202);
        self.finish(&header(&patch, "location"), &chunked, b"")
            .await;
        // Mounted from another repository, and not from nowhere.
        let mount = |digest: String, from: &str| {
            let target = format!("/v2/conformance/other/blobs/uploads/?mount={digest}{from}");
            async move { self.0.post(&target, "").await }
        };
        let from = format!("&from={NAME}");
        let mounted = mount(sha256(&whole).to_string(), &from).await;
        assert_eq!(mounted.status(), 201);
        let blob = self.0.get(&header(&mounted, "location")).await;
        assert!(blob.bytes().await.unwrap() == whole);
        for (digest, from) in [(sha256(b"none"), &*from), (sha256(&streamed), "")] {
            let answer = mount(digest.to_string(), from).await;
            assert_eq!(answer.status(), 202);
        }
        // Manifests by tag and by digest, and one without layers.
        for number in 1..4 {
            let manifest = image(
                b"{}",
                b"layer",
                &json!({"annotations": {"n": number.to_string()}}),
            );
            let put = self.put(&format!("tagtest{number}"), &manifest).await;
            let digest = sha256(&manifest).to_string();
            assert_eq!(header(&put, "docker-content-digest"), digest);
            self.has(&format!("manifests/tagtest{number}"), &manifest)
                .await;
            self.put(&digest, &manifest).await;
        }
        let empty = image(b"{}", b"", &json!({"layers": []}));
        self.put("emptylayer", &empty).await;
        self.has(&format!("manifests/{}", sha256(&empty)), &empty)
            .await;
    }

    async fn discovery(&self) {
        let all = json!(["emptylayer", "tagtest0", "tagtest1", "tagtest2", "tagtest3"]);
        let tags = self.json("tags/list").await;
        assert_eq!(tags, json!({"name": NAME, "tags": all}));
        let few = self.send(Method::GET, "tags/list?n=2", 200).await;
        assert!(header(&few, "link").ends_with("; rel=\"next\""));
        let few = self.json("tags/list?n=2").await;
        assert_eq!(few["tags"], json!(["emptylayer", "tagtest0"]));
        let more = self.json("tags/list?n=2&last=tagtest0").await;
        assert_eq!(more["tags"], json!(["tagtest1", "tagtest2"]));
        assert_eq!(self.json("tags/list?n=0").await["tags"], json!([]));
        // Referrers of what is there, of what is not, and of one type.
        let subject = self.send(Method::GET, "manifests/tagtest0", 200).await;
        let subject = subject.bytes().await.unwrap();
        let referrer = |kind: &str, subject: &[u8]| {
            let fields = json!({"subject": descriptor(MANIFEST, subject), "artifactType": kind});
            image(b"{}", b"layer", &fields)
        };
        let mut digests = Vec::new();
        for kind in [
            "application/vnd.nba.strawberry.jam",
            "application/vnd.nhl.peanut.butter",
        ] {
            let content = referrer(kind, &subject);
            let digest = sha256(&content).to_string();
            let put = self.put(&digest, &content).await;
            assert_eq!(header(&put, "oci-subject"), sha256(&subject).to_string());
            digests.push(digest);
        }
        let path = format!("referrers/{}", sha256(&subject));
        let response = self.send(Method::GET, &path, 200).await;
        assert_eq!(header(&response, "content-type"), INDEX);
        let listed = |index: Value| {
            let entries = index["manifests"].as_array().unwrap().clone();
            let digests = entries
                .iter()
                .map(|entry| entry["digest"].as_str().unwrap());
            let mut digests: Vec<_> = digests.map(str::to_owned).collect();
            digests.sort();
            digests
        };
        let filter = "artifactType=application/vnd.nhl.peanut.butter";
        let filtered = listed(self.json(&format!("{path}?{filter}")).await);
        assert_eq!(filtered, digests[1..]);
        digests.sort();
        assert_eq!(listed(self.json(&path).await), digests);
        let none = self.json(&format!("referrers/{}", sha256(b"none"))).await;
        assert_eq!(none["manifests"], json!([]));
        let missing = referrer("application/vnd.food.stand", b"missing");
        self.put(&sha256(&missing).to_string(), &missing).await;
        let of_missing = self
            .json(&format!("referrers/{}", sha256(b"missing")))
            .await;
        assert_eq!(listed(of_missing), [sha256(&missing).to_string()]);
    }

    async fn management(&self) {
        self.send(Method::DELETE, "manifests/tagtest3", 202).await;
        self.lacks("manifests/tagtest3", "MANIFEST_UNKNOWN").await;
        self.send(Method::DELETE, "manifests/tagtest3", 404).await;
        let tags = self.json("tags/list").await;
        assert!(
            !tags["tags"]
                .as_array()
                .unwrap()
                .contains(&json!("tagtest3"))
        );
        let head = self.send(Method::HEAD, "manifests/tagtest0", 200).await;
        let digest = header(&head, "docker-content-digest");
        self.send(Method::DELETE, &format!("manifests/{digest}"), 202)
            .await;
        for reference in [&*digest, "tagtest0"] {
            self.lacks(&format!("manifests/{reference}"), "MANIFEST_UNKNOWN")
                .await;
        }
        let blob = format!("blobs/{}", sha256(&noise(1000)));
        self.send(Method::DELETE, &blob, 202).await;
        self.lacks(&blob, "BLOB_UNKNOWN").await;
        self.send(Method::DELETE, &blob, 404).await;
    }
}

async fn pass(server: Server) {
    assert_eq!(server.get("/v2/").await.status(), 200);
    let nothing = server.get(&format!("/v2/{NAME}/tags/list")).await;
    assert_error(nothing, 404, "NAME_UNKNOWN").await;
    let suite = Suite(server);
    suite.pull().await;
    suite.push().await;
    suite.discovery().await;
    suite.management().await;
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
