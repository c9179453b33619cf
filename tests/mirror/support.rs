//! A registry on loopback, and what the tests say to it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use portcullis::identity::Method as IdentityMethod;
use portcullis::{Preset, Principal};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::util::MapRequestLayer;

use crate::misbehaving::Misbehaving;
use crate::routes::{Registry, router};
use crate::store::{Algorithm, Callers, Digest, Limits, Store, Uploads};
use crate::upstream::{
    Host, Namespace, Patience, PullOptions, PullThrough, Upstream, UpstreamOptions,
};

pub(crate) use crate::disk::{Damage, Data, damage};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// For how long a tag is taken to be where it was, in most tests.
pub(crate) const LONG: Duration = Duration::from_secs(60 * 60);
pub(crate) const NONE: Duration = Duration::ZERO;
/// The header by which a test says who calls.
pub(crate) const CALLER: &str = "test-caller";

/// A server that stops when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    registry: Option<Registry>,
    client: Client,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves the store in `data`.
    pub(crate) async fn start(data: &Data) -> Self {
        Self::within(data, Limits::default()).await
    }

    /// Serves the store in `data`, with these limits.
    pub(crate) async fn within(data: &Data, limits: Limits) -> Self {
        let store = open(data, limits).await;
        let registry = Registry {
            uploads: Uploads::open(&store).unwrap(),
            store,
            pull: None,
            namespace: None,
            callers: Callers::default(),
        };
        Self::of(registry).await
    }

    /// Serves the store in `data` and, through it, what is at `url`.
    pub(crate) async fn mirror(data: &Data, url: &str, tag_ttl: Duration) -> Self {
        Self::mirror_within(data, url, tag_ttl, Limits::default()).await
    }

    pub(crate) async fn mirror_within(
        data: &Data,
        url: &str,
        tag_ttl: Duration,
        limits: Limits,
    ) -> Self {
        let options = UpstreamOptions {
            url: url.to_owned(),
            ..UpstreamOptions::default()
        };
        let pull = PullOptions {
            tag_ttl,
            preset: Preset::Mirror,
        };
        Self::of(registry(data, (&options, pull), limits).await).await
    }

    /// Serves the store in `data` and, through it, an upstream.
    pub(crate) async fn mirror_of(
        data: &Data,
        options: &UpstreamOptions,
        tag_ttl: Duration,
        preset: Preset,
    ) -> Self {
        let options = (options, PullOptions { tag_ttl, preset });
        Self::of(registry(data, options, Limits::default()).await).await
    }

    /// What would be served of the store in `data` and, through it, of an upstream.
    pub(crate) async fn registry_of(data: &Data, options: &UpstreamOptions) -> Registry {
        let (tag_ttl, preset) = (LONG, Preset::Mirror);
        let options = (options, PullOptions { tag_ttl, preset });
        registry(data, options, Limits::default()).await
    }

    async fn of(registry: Registry) -> Self {
        // As the gate in front of it would: the test says who calls.
        let named = |mut request: Request| {
            if let Some(name) = request.headers().get(CALLER) {
                let name = name.to_str().unwrap().to_owned();
                let caller = Principal::new(IdentityMethod::Token, name);
                request.extensions_mut().insert(caller);
            }
            request
        };
        let router = router(registry.clone()).layer(MapRequestLayer::new(named));
        let mut server = Self::serve(router).await;
        server.registry = Some(registry);
        server
    }

    /// Serves the store in `data` and, through it, an upstream whose answers have this time.
    pub(crate) async fn patient(
        data: &Data,
        upstream: &Misbehaving,
        patience: Patience,
        tag_ttl: Duration,
    ) -> Self {
        Self::patient_within(data, upstream, patience, tag_ttl, Limits::default()).await
    }

    pub(crate) async fn patient_within(
        data: &Data,
        upstream: &Misbehaving,
        patience: Patience,
        tag_ttl: Duration,
        limits: Limits,
    ) -> Self {
        let options = UpstreamOptions {
            url: upstream.url(),
            patience,
            ..UpstreamOptions::default()
        };
        let pull = PullOptions {
            tag_ttl,
            preset: Preset::Mirror,
        };
        Self::of(registry(data, (&options, pull), limits).await).await
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.registry.as_ref().unwrap()
    }

    /// Serves anything.
    pub(crate) async fn serve(router: Router) -> Self {
        provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            registry: None,
            client: Client::builder().no_proxy().build().unwrap(),
            task,
        }
    }

    /// Stops the server as a crash would, as far as a process can do that to itself.
    pub(crate) async fn stop(self) {
        self.task.abort();
        let address = self.address;
        drop(self);
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its address as an operator names a host.
    pub(crate) fn host(&self) -> Host {
        self.address.to_string().parse().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url()))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn head(&self, path: &str) -> Response {
        self.request(Method::HEAD, path).send().await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        self.request(Method::DELETE, path).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(Method::POST, path).body(body);
        request.send().await.unwrap()
    }

    /// Begins an upload; returns where it goes on.
    pub(crate) async fn begin(&self, repository: &str) -> String {
        let response = self
            .post(&format!("/v2/{repository}/blobs/uploads/"), "")
            .await;
        assert_eq!(response.status(), 202);
        header(&response, "location")
    }

    /// Sends a part of an upload.
    pub(crate) async fn patch(&self, location: &str, range: Option<&str>, body: &[u8]) -> Response {
        let mut request = self.request(Method::PATCH, location).body(body.to_vec());
        if let Some(range) = range {
            request = request.header("content-range", range);
        }
        request.send().await.unwrap()
    }

    /// Ends an upload, with the rest of it.
    pub(crate) async fn put(&self, location: &str, digest: impl ToString, body: &[u8]) -> Response {
        let path = format!("{location}?digest={}", digest.to_string());
        let request = self.request(Method::PUT, &path).body(body.to_vec());
        request.send().await.unwrap()
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let response = self.post(&path, content.to_vec()).await;
        assert_eq!(response.status(), 201);
        digest
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        content: &[u8],
    ) -> Response {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let request = self.request(Method::PUT, &path);
        let request = request.header("content-type", media_type);
        request.body(content.to_vec()).send().await.unwrap()
    }

    /// Pushes an image of one small layer under a tag; returns the manifest's text and digest.
    pub(crate) async fn push_image(
        &self,
        repository: &str,
        tag: &str,
        layer: &[u8],
    ) -> (Vec<u8>, Digest) {
        let config = b"{}";
        self.push_blob(repository, config).await;
        self.push_blob(repository, layer).await;
        let manifest = image(config, layer, &json!({}));
        let response = self
            .put_manifest(repository, tag, MANIFEST, &manifest)
            .await;
        assert_eq!(response.status(), 201);
        let digest = sha256(&manifest);
        (manifest, digest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn registry(
    data: &Data,
    (upstream, pull): (&UpstreamOptions, PullOptions),
    limits: Limits,
) -> Registry {
    provider();
    let store = open(data, limits).await;
    let upstream = Upstream::new(upstream).unwrap();
    let namespace: Namespace = "Docker.io".parse().unwrap();
    Registry {
        uploads: Uploads::open(&store).unwrap(),
        callers: Callers::default(),
        pull: Some(PullThrough::new(store.clone(), upstream, pull)),
        namespace: Some(namespace.to_string().into()),
        store,
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waited).await;
    assert!(waited.is_ok(), "{what}");
}

/// Opens the store, as soon as the one before has let go of it.
async fn open(data: &Data, limits: Limits) -> Store {
    loop {
        match Store::open(data.path(), limits) {
            Err(crate::store::StoreError::Locked(_)) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            result => return result.unwrap(),
        }
    }
}

/// An image manifest of one layer, with more fields.
pub(crate) fn image(config: &[u8], layer: &[u8], more: &Value) -> Vec<u8> {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    });
    for (key, value) in more.as_object().unwrap() {
        manifest[key] = value.clone();
    }
    serde_json::to_vec(&manifest).unwrap()
}

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": sha256(content).to_string(),
        "size": content.len(),
    })
}

pub(crate) fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

pub(crate) fn sha512(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, content)
}

/// `length` bytes in which no two places look alike.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

pub(crate) fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name);
    let value = value.unwrap_or_else(|| panic!("no {name} in {:?}", response.headers()));
    value.to_str().unwrap().to_owned()
}

/// Asserts an error by status and code, in the form that clients read.
pub(crate) async fn assert_error(response: Response, status: u16, code: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(
        header(&response, "docker-distribution-api-version"),
        "registry/2.0"
    );
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["errors"][0]["code"], code, "{text}");
    assert!(body["errors"][0]["message"].is_string());
}

pub(crate) fn provider() {
    // The second test of a process finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
