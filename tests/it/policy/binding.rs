//! Digests bound to repositories: what one may pull by is not what one may pull.
#![cfg(feature = "digest-binding")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use portcullis::oci::{Endpoint, Route};
use portcullis::policy::{
    Actions, BindingLayer, DigestBinding, Pattern, Policy, PolicyLayer, Rule, Who,
};
use sha2::{Digest, Sha256};
use tower::{ServiceBuilder, ServiceExt};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a cache of this test answers never fails.
fn never(error: portcullis::BodyError) -> Infallible {
    unreachable!("{}", Box::<dyn std::error::Error>::from(error))
}

/// A service as Spegel is one: content by its digest, whatever the repository in the path.
#[derive(Clone, Default)]
struct Cache(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    blobs: HashMap<String, Bytes>,
    tags: HashMap<(String, String), String>,
    referrers: Vec<String>,
    asked: Vec<String>,
    /// What it says that a push was of.
    took: Option<String>,
    /// What it answers a DELETE with, if not 201.
    deletes: Option<u16>,
}

impl Cache {
    fn put(&self, content: impl Into<Bytes>) -> String {
        let content = content.into();
        let digest = digest(&content);
        self.0.lock().unwrap().blobs.insert(digest.clone(), content);
        digest
    }

    fn tag(&self, repository: &str, tag: &str, digest: &str) {
        let key = (repository.to_owned(), tag.to_owned());
        self.0.lock().unwrap().tags.insert(key, digest.to_owned());
    }

    /// An image of one layer, tagged `latest`: its manifest's and its layer's digests.
    fn image(&self, repository: &str, layer: &str) -> (String, String) {
        let layer = self.put(layer.to_owned());
        let config = self.put(format!("config of {repository}"));
        let manifest = self.put(format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{config}"}},"layers":[{{"digest":"{layer}"}}]}}"#
        ));
        self.tag(repository, "latest", &manifest);
        (manifest, layer)
    }

    fn answer(&self, method: &Method, target: &http::Uri) -> Response<Body> {
        let mut content = self.0.lock().unwrap();
        content.asked.push(target.to_string());
        let route = Route::parse(method, target).unwrap();
        let found = |status| Response::builder().status(status);
        match (route.endpoint(), method) {
            (Endpoint::Manifest | Endpoint::Blob, &Method::GET | &Method::HEAD) => {
                let reference = route.reference().unwrap().to_owned();
                let key = (route.repository().unwrap().to_owned(), reference.clone());
                let digest = content.tags.get(&key).unwrap_or(&reference);
                match content.blobs.get(digest) {
                    Some(bytes) => {
                        let bytes = if method == Method::HEAD {
                            Bytes::new()
                        } else {
                            bytes.clone()
                        };
                        let response = found(200).header("docker-content-digest", digest);
                        let response = response.header("content-type", kind(&bytes));
                        response.body(in_pieces(&bytes)).unwrap()
                    }
                    None => found(404).body(in_pieces(&Bytes::new())).unwrap(),
                }
            }
            (Endpoint::Referrers, _) => {
                let list: Vec<_> = content
                    .referrers
                    .iter()
                    .map(|d| format!(r#"{{"digest":"{d}"}}"#))
                    .collect();
                let json = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, list.join(","));
                let response = found(200).header("content-type", INDEX);
                response.body(in_pieces(&json.into())).unwrap()
            }
            (Endpoint::UploadStart, _) if route.mount().is_some() => {
                found(201).body(in_pieces(&Bytes::new())).unwrap()
            }
            (Endpoint::UploadStart, _) => found(202).body(in_pieces(&Bytes::new())).unwrap(),
            _ => {
                let status = content.deletes.filter(|_| *method == Method::DELETE);
                let response = found(status.unwrap_or(201));
                let response = match &content.took {
                    Some(digest) => response.header("docker-content-digest", digest),
                    None => response,
                };
                response.body(in_pieces(&Bytes::new())).unwrap()
            }
        }
    }
}

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn kind(content: &[u8]) -> &'static str {
    let is_index = String::from_utf8_lossy(content).contains("\"manifests\"");
    if is_index { INDEX } else { IMAGE }
}

fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hex: Vec<_> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

fn in_pieces(bytes: &Bytes) -> Body {
    let pieces: Vec<_> = bytes
        .chunks(bytes.len().div_ceil(1_000).max(7))
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    UnsyncBoxBody::new(StreamBody::new(futures_util::stream::iter(pieces)))
}

/// What a client of `cache` behind `binding` gets.
struct Client {
    cache: Cache,
    binding: Option<DigestBinding>,
}

impl Client {
    fn new(cache: &Cache, binding: Option<DigestBinding>) -> Self {
        Self {
            cache: cache.clone(),
            binding,
        }
    }

    /// Checks the status of the answer to a GET.
    async fn gets(&self, status: u16, target: &str) {
        assert_eq!(self.get(target).await, status, "{target}");
    }

    async fn ask(&self, method: Method, target: &str) -> (StatusCode, Bytes) {
        let response = self.begin(method, target).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap();
        (status, body.to_bytes())
    }

    /// Up to the head of the answer.
    async fn begin(&self, method: Method, target: &str) -> Response<Body> {
        let request = Request::builder()
            .header("host", "registry.example")
            .method(method)
            .uri(target)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let public = Rule::allow(
            "public",
            Who::Anyone,
            Actions::PULL | Actions::PUSH | Actions::DELETE,
        )
        .on_repositories([Pattern::repository("public/*").unwrap()]);
        let policy = PolicyLayer::new(Policy::new([public]).unwrap());
        let cache = self.cache.clone();
        let service = tower::service_fn(move |request: Request<Empty<Bytes>>| {
            let response = cache.answer(request.method(), request.uri());
            async move { Ok::<_, Infallible>(response) }
        });
        if let Some(binding) = &self.binding {
            let bound = BindingLayer::new(binding.clone());
            let layers = ServiceBuilder::new().layer(policy).layer(bound);
            let response = layers.service(service).oneshot(request).await.unwrap();
            response.map(|body| UnsyncBoxBody::new(body.map_err(never)))
        } else {
            let service = ServiceBuilder::new().layer(policy).service(service);
            let response = service.oneshot(request).await.unwrap();
            response.map(|body| UnsyncBoxBody::new(body.map_err(never)))
        }
    }

    async fn get(&self, target: &str) -> StatusCode {
        self.ask(Method::GET, target).await.0
    }
}

fn from_pulls() -> DigestBinding {
    DigestBinding::new(1000)
}

fn from_pushes() -> DigestBinding {
    from_pulls().with_pulls(false).with_pushes(true)
}

fn from_both() -> DigestBinding {
    from_pulls().with_pushes(true)
}

#[tokio::test]
async fn a_secret_layer_is_had_under_a_public_name_without_a_binding_and_not_with_one() {
    let cache = Cache::default();
    let (secret_manifest, secret) = cache.image("secret/app", "the secret");
    let (manifest, layer) = cache.image("public/app", "for everybody");
    let steal = format!("/v2/public/app/blobs/{secret}?ns=docker.io");

    let open = Client::new(&cache, None);
    assert_eq!(
        open.ask(Method::GET, &steal).await,
        (StatusCode::OK, "the secret".into())
    );

    let bound = Client::new(&cache, Some(from_pulls()));
    let own = format!("/v2/public/app/blobs/{layer}?ns=docker.io");
    assert_eq!(bound.get(&own).await, 404, "nothing was seen yet");
    assert_eq!(
        bound
            .get("/v2/public/app/manifests/latest?ns=docker.io")
            .await,
        200
    );
    assert_eq!(
        bound.ask(Method::GET, &own).await,
        (StatusCode::OK, "for everybody".into())
    );
    assert_eq!(
        bound
            .get(&format!("/v2/public/app/manifests/{manifest}?ns=docker.io"))
            .await,
        200
    );

    let (status, body) = bound.ask(Method::GET, &steal).await;
    assert_eq!(status, 404);
    assert!(String::from_utf8_lossy(&body).contains("BLOB_UNKNOWN"));
    let whole = format!("/v2/public/app/manifests/{secret_manifest}?ns=docker.io");
    assert_eq!(bound.get(&whole).await, 404);
    // Another registry's repository of the same name is another repository.
    assert_eq!(bound.get(&own.replace("docker.io", "quay.io")).await, 404);
    assert_eq!(
        bound.get(&own.replace("public/app", "public/other")).await,
        404
    );
    let asked = &cache.0.lock().unwrap().asked;
    assert!(
        !asked[1..].iter().any(|target| target.contains(&secret)),
        "{asked:?}"
    );
}

#[tokio::test]
async fn an_index_leads_to_its_manifests_and_they_to_their_layers() {
    let cache = Cache::default();
    let (child, layer) = cache.image("public/app", "x");
    let index = cache.put(format!(r#"{{"manifests":[{{"digest":"{child}"}}]}}"#));
    cache.tag("public/app", "latest", &index);
    let client = Client::new(&cache, Some(from_pulls()));
    // As containerd does: HEAD for the digest of the tag, then everything by digest.
    let (head, _) = client
        .ask(Method::HEAD, "/v2/public/app/manifests/latest")
        .await;
    assert_eq!(head, 200);
    client
        .gets(404, &format!("/v2/public/app/manifests/{child}"))
        .await;
    client
        .gets(200, &format!("/v2/public/app/manifests/{index}"))
        .await;
    client
        .gets(404, &format!("/v2/public/app/blobs/{layer}"))
        .await;
    client
        .gets(200, &format!("/v2/public/app/manifests/{child}"))
        .await;
    client
        .gets(200, &format!("/v2/public/app/blobs/{layer}"))
        .await;
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_not_learnt_from() {
    let cache = Cache::default();
    let (_, secret) = cache.image("secret/app", "the secret");
    let lie = format!(r#"{{"layers":[{{"digest":"{secret}"}}]}}"#);
    let (manifest, _) = cache.image("public/app", "x");
    cache.0.lock().unwrap().blobs.insert(manifest, lie.into());
    let client = Client::new(&cache, Some(from_pulls()));
    client.gets(200, "/v2/public/app/manifests/latest").await;
    client
        .gets(404, &format!("/v2/public/app/blobs/{secret}"))
        .await;
}

#[tokio::test]
async fn the_callback_is_asked_about_what_was_not_seen() {
    let cache = Cache::default();
    let (manifest, layer) = cache.image("public/app", "x");
    let (_, secret) = cache.image("secret/app", "the secret");
    let known = manifest.clone();
    let oracle = move |_: Option<&str>, repository: &str, digest: &str| {
        Some(repository == "public/app" && digest == known)
    };
    let binding = from_pulls().with_oracle(oracle);
    let client = Client::new(&cache, Some(binding));
    client
        .gets(404, &format!("/v2/public/app/blobs/{secret}"))
        .await;
    client
        .gets(200, &format!("/v2/public/app/manifests/{manifest}"))
        .await;
    client
        .gets(200, &format!("/v2/public/app/blobs/{layer}"))
        .await;
}

#[tokio::test]
async fn what_the_callback_cannot_find_out_is_neither_given_nor_said_to_be_missing() {
    let cache = Cache::default();
    let (manifest, layer) = cache.image("public/app", "x");
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let oracle = move |_: Option<&str>, repository: &str, _: &str| {
        (!is_down.load(Ordering::Relaxed)).then_some(repository == "public/app")
    };
    let binding = from_pulls().with_oracle(oracle);
    let client = Client::new(&cache, Some(binding));
    let paths = [
        format!("/v2/public/app/blobs/{layer}"),
        format!("/v2/public/app/manifests/{manifest}"),
        format!("/v2/public/app/referrers/{manifest}"),
    ];
    let mount = format!("/v2/public/app/blobs/uploads/?mount={layer}&from=public/app");
    for path in &paths {
        client.gets(503, path).await;
    }
    // A mount is an ordinary upload then, for which the client has to have the content.
    assert_eq!(client.ask(Method::POST, &mount).await.0, 202);
    let asked = cache.0.lock().unwrap().asked.clone();
    assert!(
        !asked.iter().any(|asked| asked.contains("mount=")),
        "{asked:?}"
    );
    // Nothing was learnt of it.
    down.store(false, Ordering::Relaxed);
    client
        .gets(404, &format!("/v2/public/other/blobs/{layer}"))
        .await;
    client.gets(200, &paths[0]).await;
    client.gets(200, &paths[1]).await;
}

#[tokio::test]
async fn a_push_binds_what_was_sent_and_no_more() {
    let cache = Cache::default();
    let (_, secret) = cache.image("secret/app", "the secret");
    let blob = cache.put("mine");
    let client = Client::new(&cache, Some(from_pushes()));
    // Clients look first, and send what is not there.
    assert_eq!(
        client
            .ask(Method::HEAD, &format!("/v2/public/app/blobs/{blob}"))
            .await
            .0,
        404
    );
    let put = format!("/v2/public/app/blobs/uploads/1?digest={blob}");
    assert_eq!(client.ask(Method::PUT, &put).await.0, 201);
    client
        .gets(200, &format!("/v2/public/app/blobs/{blob}"))
        .await;
    // A manifest that names a layer which the pusher does not have.
    let thief = cache.put(format!(r#"{{"layers":[{{"digest":"{secret}"}}]}}"#));
    cache.tag("public/app", "latest", &thief);
    let put = format!("/v2/public/app/manifests/{thief}");
    assert_eq!(client.ask(Method::PUT, &put).await.0, 201);
    client.gets(200, "/v2/public/app/manifests/latest").await;
    client.gets(200, &put).await;
    client
        .gets(404, &format!("/v2/public/app/blobs/{secret}"))
        .await;
}

#[tokio::test]
async fn a_mount_of_what_is_not_known_there_becomes_an_upload() {
    let cache = Cache::default();
    let (_, secret) = cache.image("secret/app", "the secret");
    let mine = cache.put("mine");
    let client = Client::new(&cache, Some(from_pushes()));
    let put = format!("/v2/public/app/blobs/uploads/1?digest={mine}");
    assert_eq!(client.ask(Method::PUT, &put).await.0, 201);
    for (mount, status) in [(&mine, 201), (&secret, 202)] {
        let target = format!("/v2/public/other/blobs/uploads/?ns=a&mount={mount}&from=public/app");
        let target = target.replace("ns=a&", "");
        assert_eq!(
            client.ask(Method::POST, &target).await.0,
            status,
            "{target}"
        );
    }
    let asked = cache.0.lock().unwrap().asked.pop().unwrap();
    assert_eq!(asked, "/v2/public/other/blobs/uploads/");
    client
        .gets(200, &format!("/v2/public/other/blobs/{mine}"))
        .await;
    client
        .gets(404, &format!("/v2/public/other/blobs/{secret}"))
        .await;
    let target = format!("/v2/public/other/blobs/uploads/?x=1&mount={secret}&from=public/app&y=2");
    assert_eq!(client.ask(Method::POST, &target).await.0, 202);
    let asked = cache.0.lock().unwrap().asked.pop().unwrap();
    assert_eq!(asked, "/v2/public/other/blobs/uploads/?x=1&y=2");
}

const NO_REFERRERS: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// A 404 means that the registry knows no referrers, and makes clients look for a tag instead.
#[tokio::test]
async fn of_what_is_not_known_to_be_there_there_are_no_referrers_whether_it_is_or_not() {
    let cache = Cache::default();
    let (_, secret) = cache.image("secret/app", "the secret");
    cache.0.lock().unwrap().referrers.push(secret.clone());
    let nothing = digest(b"nothing");
    let client = Client::new(&cache, Some(from_both().with_referrers(true)));
    let mut answers = Vec::new();
    for subject in [&secret, &nothing] {
        for (method, query) in [
            (Method::GET, ""),
            (Method::HEAD, ""),
            (Method::GET, "?artifactType=application%2Fx&ns=docker.io"),
        ] {
            let target = format!("/v2/public/app/referrers/{subject}{query}");
            let response = client.begin(method.clone(), &target).await;
            assert_eq!(response.status(), 200, "{method} {target}");
            let headers = response.headers().clone();
            assert_eq!(headers["content-type"], INDEX);
            assert_eq!(headers["content-length"], NO_REFERRERS.len().to_string());
            assert_eq!(headers["docker-distribution-api-version"], "registry/2.0");
            let filtered = headers.get("oci-filters-applied");
            assert_eq!(filtered.is_some(), !query.is_empty());
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(
                body,
                if method == Method::HEAD {
                    ""
                } else {
                    NO_REFERRERS
                }
            );
            answers.push((headers, body));
        }
    }
    assert_eq!(answers[..3], answers[3..]);
    assert!(cache.0.lock().unwrap().asked.is_empty());
    // Where the caller may not pull, the policy says so.
    let elsewhere = format!("/v2/secret/app/referrers/{secret}");
    client.gets(403, &elsewhere).await;
}

#[tokio::test]
async fn referrers_are_given_for_what_the_repository_leads_to() {
    let cache = Cache::default();
    let (manifest, _) = cache.image("public/app", "x");
    let (secret, _) = cache.image("secret/app", "the secret");
    let signature = cache.put(r#"{"layers":[]}"#);
    cache.0.lock().unwrap().referrers.push(signature.clone());
    let binding = from_pulls().with_referrers(true);
    let client = Client::new(&cache, Some(binding));
    client.gets(200, "/v2/public/app/manifests/latest").await;
    let (status, list) = client
        .ask(Method::GET, &format!("/v2/public/app/referrers/{secret}"))
        .await;
    assert_eq!(status, 200);
    assert_eq!(list, NO_REFERRERS);
    client
        .gets(404, &format!("/v2/public/app/manifests/{signature}"))
        .await;
    client
        .gets(200, &format!("/v2/public/app/referrers/{manifest}"))
        .await;
    client
        .gets(200, &format!("/v2/public/app/manifests/{signature}"))
        .await;
}

/// Where the list is found by the subject's digest alone, every caller that may push anywhere writes into it.
#[tokio::test]
async fn referrers_lead_nowhere_unless_the_service_keeps_them_for_each_repository() {
    let cache = Cache::default();
    let (manifest, _) = cache.image("public/app", "x");
    let (secret, _) = cache.image("secret/app", "the secret");
    cache.0.lock().unwrap().referrers.push(secret.clone());
    let client = Client::new(&cache, Some(from_both()));
    client.gets(200, "/v2/public/app/manifests/latest").await;
    let list = format!("/v2/public/app/referrers/{manifest}");
    client.gets(200, &list).await;
    let steal = format!("/v2/public/app/manifests/{secret}");
    client.gets(404, &steal).await;
}

/// Registries in Go read the parameters of a form in the body before those of the query, and a mount
/// with a digest beside it is one or the other.
#[tokio::test]
async fn a_push_of_one_digest_does_not_bind_another() {
    let cache = Cache::default();
    let (_, secret) = cache.image("secret/app", "the secret");
    let own = cache.put("own");
    let client = Client::new(&cache, Some(from_both()));
    let steal = format!("/v2/public/app/blobs/{secret}");
    let put = format!("/v2/public/app/blobs/uploads/1?digest={own}");
    assert_eq!(client.ask(Method::PUT, &put).await.0, 201);

    let target =
        format!("/v2/public/app/blobs/uploads/?mount={own}&from=public/app&digest={secret}");
    assert_eq!(client.ask(Method::POST, &target).await.0, 400);
    client.gets(404, &steal).await;

    // The service says that it took another one than it was asked to.
    cache.0.lock().unwrap().took = Some(own.clone());
    for target in [
        format!("/v2/public/app/blobs/uploads/1?digest={secret}"),
        format!("/v2/public/app/manifests/{secret}"),
    ] {
        assert_eq!(client.ask(Method::PUT, &target).await.0, 201, "{target}");
        assert_eq!(client.get(&steal).await, 404, "{target}");
        let whole = format!("/v2/public/app/manifests/{secret}");
        assert_eq!(client.get(&whole).await, 404, "{target}");
    }
    // What is no end of a push binds nothing, whatever is answered.
    cache.0.lock().unwrap().took = None;
    let target = format!("/v2/public/app/blobs/uploads/1?digest={secret}");
    for method in [Method::PATCH, Method::GET, Method::DELETE] {
        assert_eq!(client.ask(method, &target).await.0, 201);
        client.gets(404, &steal).await;
    }
}

/// By a tag only the service says which digest a manifest has; of a blob its client says it.
#[tokio::test]
async fn a_manifest_that_is_pushed_by_its_tag_is_bound_as_the_service_tells_and_a_blob_is_not() {
    let cache = Cache::default();
    let (secret, _) = cache.image("secret/app", "the secret");
    let own = cache.put(r#"{"schemaVersion":2,"layers":[]}"#);
    let client = Client::new(&cache, Some(from_pushes()));
    cache.0.lock().unwrap().took = Some(own.clone());
    let put = "/v2/public/app/manifests/latest";
    assert_eq!(client.ask(Method::PUT, put).await.0, 201);
    client
        .gets(200, &format!("/v2/public/app/manifests/{own}"))
        .await;

    cache.0.lock().unwrap().took = Some(secret.clone());
    let put = "/v2/public/app/blobs/uploads/1";
    assert_eq!(client.ask(Method::PUT, put).await.0, 201);
    client
        .gets(404, &format!("/v2/public/app/manifests/{secret}"))
        .await;

    // What was asked for and what was taken are the same.
    let blob = cache.put("mine");
    cache.0.lock().unwrap().took = Some(blob.clone());
    let put = format!("/v2/public/app/blobs/uploads/1?digest={blob}");
    assert_eq!(client.ask(Method::PUT, &put).await.0, 201);
    client
        .gets(200, &format!("/v2/public/app/blobs/{blob}"))
        .await;
}

#[tokio::test]
async fn a_manifest_of_the_greatest_length_leads_to_its_layers_and_a_longer_one_nowhere() {
    const LONGEST: usize = 4 * 1024 * 1024;
    for (length, status) in [(LONGEST, 200), (LONGEST + 1, 404), (LONGEST + 8, 404)] {
        let cache = Cache::default();
        let layer = cache.put("layer");
        let mut manifest = format!(r#"{{"schemaVersion":2,"layers":[{{"digest":"{layer}"}}]}}"#);
        manifest.extend(std::iter::repeat_n(' ', length - manifest.len()));
        let manifest = cache.put(manifest);
        cache.tag("public/app", "latest", &manifest);
        let client = Client::new(&cache, Some(from_pulls()));
        client.gets(200, "/v2/public/app/manifests/latest").await;
        client
            .gets(status, &format!("/v2/public/app/blobs/{layer}"))
            .await;
    }
}

/// An upstream that does not look closely has taken it for an index of nothing.
#[tokio::test]
async fn a_manifest_that_is_told_as_another_kind_leads_nowhere() {
    let cache = Cache::default();
    let (_, secret) = cache.image("secret/app", "the secret");
    let (own, _) = cache.image("public/own", "own");
    for json in [
        // Served as an index.
        format!(r#"{{"layers":[{{"digest":"{secret}"}}],"x":{{"manifests":[]}}}}"#),
        format!(r#"{{"manifests":[{{"digest":"{own}"}}],"layers":[{{"digest":"{secret}"}}]}}"#),
        // Served as an image.
        format!(r#"{{"layers":[{{"digest":"{secret}"}}],"Layers":[]}}"#),
    ] {
        let manifest = cache.put(json.clone());
        cache.tag("public/app", "latest", &manifest);
        let client = Client::new(&cache, Some(from_both()));
        client.gets(200, "/v2/public/app/manifests/latest").await;
        let steal = format!("/v2/public/app/blobs/{secret}");
        assert_eq!(client.get(&steal).await, 404, "{json}");
    }
}

/// distribution CVE-2026-35172 again: what ends after the delete must not undo it.
#[tokio::test]
async fn an_answer_that_ends_after_a_delete_does_not_bring_back_what_was_deleted() {
    let cache = Cache::default();
    let (manifest, layer) = cache.image("public/app", "x");
    let (other, _) = cache.image("public/app", "y");
    cache.tag("public/app", "latest", &manifest);
    let client = Client::new(&cache, Some(from_pulls()));
    let whole = format!("/v2/public/app/manifests/{manifest}");
    let blob = format!("/v2/public/app/blobs/{layer}");
    for deleted in [&whole, &blob] {
        let slow = client.begin(Method::GET, "/v2/public/app/manifests/latest");
        let slow = slow.await;
        assert_eq!(slow.status(), 200);
        assert_eq!(client.ask(Method::DELETE, deleted).await.0, 201);
        slow.into_body().collect().await.unwrap();
        assert_eq!(client.get(deleted).await, 404, "{deleted}");
    }
    // Nothing else is lost, and what is asked for afterwards is learnt again.
    cache.tag("public/app", "other", &other);
    client.gets(200, "/v2/public/app/manifests/other").await;
    client.gets(200, "/v2/public/app/manifests/latest").await;
    client.gets(200, &whole).await;
    client.gets(200, &blob).await;
}

#[tokio::test]
async fn a_delete_forgets_a_digest_whichever_registry_it_was_learnt_of() {
    for learnt in ["", "?ns=docker.io"] {
        for deleted in ["", "?ns=docker.io", "?ns=elsewhere"] {
            let cache = Cache::default();
            let (manifest, layer) = cache.image("public/app", "x");
            let client = Client::new(&cache, Some(from_pulls()));
            let pull = format!("/v2/public/app/manifests/latest{learnt}");
            client.gets(200, &pull).await;
            for path in [
                format!("/v2/public/app/blobs/{layer}"),
                format!("/v2/public/app/manifests/{manifest}"),
            ] {
                let get = format!("{path}{learnt}");
                assert_eq!(client.get(&get).await, 200, "{get}");
                let delete = format!("{path}{deleted}");
                assert_eq!(client.ask(Method::DELETE, &delete).await.0, 201);
                assert_eq!(client.get(&get).await, 404, "{get} after {delete}");
            }
        }
    }
}

/// distribution CVE-2026-35172: a deleted blob stayed readable by what remembered it.
#[tokio::test]
async fn cve_2026_35172_what_was_deleted_is_not_led_to_any_more() {
    let cache = Cache::default();
    let (manifest, layer) = cache.image("public/app", "x");
    let client = Client::new(&cache, Some(from_both()));
    client.gets(200, "/v2/public/app/manifests/latest").await;
    for path in [
        format!("/v2/public/app/blobs/{layer}"),
        format!("/v2/public/app/manifests/{manifest}"),
    ] {
        assert_eq!(client.get(&path).await, 200, "{path}");
        assert_eq!(client.ask(Method::DELETE, &path).await.0, 201, "{path}");
        assert_eq!(client.get(&path).await, 404, "{path}");
    }
}

#[tokio::test]
async fn a_delete_that_the_service_did_not_do_forgets_nothing() {
    let cache = Cache::default();
    let (manifest, layer) = cache.image("public/app", "x");
    let client = Client::new(&cache, Some(from_both()));
    client.gets(200, "/v2/public/app/manifests/latest").await;
    let paths = [
        format!("/v2/public/app/blobs/{layer}"),
        format!("/v2/public/app/manifests/{manifest}"),
    ];
    for status in [304, 400, 403, 405, 429, 500, 503] {
        cache.0.lock().unwrap().deletes = Some(status);
        for path in &paths {
            assert_eq!(client.ask(Method::DELETE, path).await.0, status, "{path}");
            client.gets(200, path).await;
        }
    }
    for status in [200, 202, 204] {
        cache.0.lock().unwrap().deletes = Some(status);
        client.gets(200, "/v2/public/app/manifests/latest").await;
        for path in &paths {
            client.gets(200, path).await;
            assert_eq!(client.ask(Method::DELETE, path).await.0, status, "{path}");
            client.gets(404, path).await;
        }
    }
}

#[test]
fn what_a_program_binds_itself_is_known_asked_after_by_none_and_read_again() {
    let never = |_: Option<&str>, _: &str, digest: &str| -> Option<bool> {
        panic!("{digest} is known");
    };
    let binding = from_pulls().with_oracle(never);
    let mut known = Vec::new();
    for number in 0..100 {
        let layer = digest(format!("layer {number}").as_bytes());
        let manifest = format!(r#"{{"schemaVersion":2,"layers":[{{"digest":"{layer}"}}]}}"#);
        let own = digest(manifest.as_bytes());
        let bind = |repository, digest| {
            let content = manifest.as_bytes();
            binding.bind_manifest(None, repository, Some(digest), Some(IMAGE), content)
        };
        assert!(bind("public/app", &own));
        // It is not what that digest says.
        assert!(!bind("public/other", &layer));
        known.extend([own, layer]);
    }
    let mut written = Vec::new();
    binding.write_to(&mut written).unwrap();
    assert_eq!(written.len(), 53 + 16 * known.len());
    let again = from_pulls();
    again.read_from(std::io::Cursor::new(&written)).unwrap();
    let less = from_pulls();
    let cut = std::io::Cursor::new(&written[..written.len() - 1]);
    assert!(less.read_from(cut).is_err());
    for digest in &known {
        assert!(binding.leads_to(None, "public/app", digest));
        assert!(again.leads_to(None, "public/app", digest));
        assert!(!again.leads_to(None, "public/other", digest));
        assert!(!less.leads_to(None, "public/app", digest));
    }
}
