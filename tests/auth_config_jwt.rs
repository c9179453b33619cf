//! `[auth]` with issuers of signed tokens: credentials that come and go beside them while it runs.
#![cfg(all(
    feature = "config",
    feature = "jwt",
    feature = "metrics",
    feature = "aws-lc-rs"
))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod captured;

use std::convert::Infallible;
use std::fmt::Write;
use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use captured::Sink;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::config::Config;
use portcullis::{ClientAddr, Guard};
use rcgen::KeyPair;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tower::{Layer, ServiceExt, service_fn};

const TOKEN: &str = "[auth]\nrequire = \"token\"\n";
const ISSUER: &str = "[[auth.jwt]]\nkind = \"service-account\"\nissuer = \"cluster\"\n\
    audiences = [\"us\"]\nkeys = \"keys.json\"\n";

/// A configuration file and all that it names.
struct Folder {
    directory: TempDir,
    issuer: KeyPair,
}

impl Folder {
    fn new() -> Self {
        let folder = Self {
            directory: TempDir::new().unwrap(),
            issuer: KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
        };
        let x = BASE64_URL_SAFE_NO_PAD.encode(folder.issuer.public_key_raw());
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x });
        folder.put("keys.json", &json!({ "keys": [key] }).to_string());
        folder
    }

    fn put(&self, name: &str, text: &str) {
        // Renamed into its place, so that no reader reads half of it.
        let file = self.directory.path().join(name);
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    }

    fn configure(&self, auth: &str) {
        let head = "[reload]\npoll_interval = \"50ms\"\nsettle = \"5ms\"\n";
        self.put("gate.toml", &format!("{head}{auth}"));
    }

    fn guard(&self) -> Guard {
        let config = Config::load(self.directory.path().join("gate.toml"));
        Guard::from_config(&config.unwrap()).unwrap()
    }

    /// An error event about a file here says this.
    async fn tells(&self, words: &str) {
        let place = self.directory.path().to_str().unwrap();
        until(words, async || {
            let (_, log) = watching();
            let text = log.text();
            let mut lines = text.lines();
            lines.any(|line| line.contains(place) && line.contains(words))
        })
        .await;
    }

    /// A token that the issuer signed.
    fn signed(&self) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("one".to_owned());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let claims = json!({
            "iss": "cluster", "aud": ["us"], "exp": now.as_secs() + 600,
            "sub": "system:serviceaccount:team-a:builder",
        });
        // With both of its providers compiled it cannot choose one, and this is what the crate chooses.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let key = EncodingKey::from_ed_der(&self.issuer.serialize_der());
        format!("Bearer {}", encode(&header, &claims, &key).unwrap())
    }
}

/// Of the whole process: files are watched by a thread of their own.
fn watching() -> (&'static PrometheusHandle, &'static Sink) {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    let metrics = METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap());
    (metrics, Sink::errors_everywhere())
}

async fn status(guard: &Guard, authorization: &str) -> u16 {
    let service = guard.layer(service_fn(async |_: Request<_>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    }));
    let request = Request::get("/v2/team/app/manifests/1")
        .header("host", "registry.example")
        .extension(ClientAddr::new("192.0.2.1:4711".parse().unwrap()))
        .header(AUTHORIZATION, authorization.trim());
    let request = request.body(Full::<Bytes>::default()).unwrap();
    service.oneshot(request).await.unwrap().status().as_u16()
}

async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !reached().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn becomes(guard: &Guard, authorization: &str, wanted: u16) {
    let what = format!("{wanted} for {authorization}");
    until(&what, async || status(guard, authorization).await == wanted).await;
}

fn token(id: &str, secret: &str) -> String {
    let mut digest = String::new();
    for byte in Sha256::digest(secret.as_bytes()) {
        write!(digest, "{byte:02x}").unwrap();
    }
    format!("[[auth.token]]\nid = \"{id}\"\nsha256 = [\"{digest}\"]\n")
}

fn basic(user: &str, password: &str) -> String {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

#[tokio::test]
async fn credentials_that_the_file_gets_beside_issuers_count_without_a_restart_and_so_does_their_end()
 {
    let folder = Folder::new();
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    folder.put("people", &format!("alice:{hash}\n"));
    folder.configure(&format!("{TOKEN}{ISSUER}"));
    let gate = folder.guard();
    let (signed, alice) = (folder.signed(), basic("alice", "open sesame"));
    assert_eq!(status(&gate, &signed).await, 200);
    for stranger in ["Bearer first", &basic("ci", "first"), &alice] {
        assert_eq!(status(&gate, stranger).await, 401);
    }

    let people = "htpasswd = [\"people\"]\n";
    let first = token("ci", "first");
    folder.configure(&format!("{TOKEN}{people}{ISSUER}{first}"));
    becomes(&gate, "Bearer first", 200).await;
    for known in [&basic("ci", "first"), &alice, &signed] {
        assert_eq!(status(&gate, known).await, 200, "{known}");
    }

    folder.configure(&format!("{TOKEN}{ISSUER}"));
    becomes(&gate, "Bearer first", 401).await;
    for gone in [&basic("ci", "first"), &alice] {
        assert_eq!(status(&gate, gone).await, 401, "{gone}");
    }
    assert_eq!(status(&gate, &signed).await, 200);
}

#[tokio::test]
async fn the_last_user_who_is_taken_out_of_a_file_beside_issuers_is_refused() {
    let folder = Folder::new();
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    folder.put("people", &format!("bob:{hash}\n"));
    folder.configure(&format!("{TOKEN}htpasswd = [\"people\"]\n{ISSUER}"));
    let gate = folder.guard();
    let bob = basic("bob", "open sesame");
    assert_eq!(status(&gate, &bob).await, 200);
    folder.put("people", "");
    becomes(&gate, &bob, 401).await;
    assert_eq!(status(&gate, &folder.signed()).await, 200);
    // A file without users is none that keeps the gate from starting.
    assert_eq!(status(&folder.guard(), &folder.signed()).await, 200);
    folder.put("people", &format!("bob:{hash}\n"));
    becomes(&gate, &bob, 200).await;
}

#[tokio::test]
async fn a_file_that_lets_nobody_in_any_more_leaves_the_last_good_credentials_and_is_told() {
    let (metrics, _) = watching();
    let folder = Folder::new();
    folder.put("ci.token", "Zq3v0yHk1Xt7Rb9cWm5LsPd2");
    let file = "[[auth.token]]\nid = \"ci\"\nfile = \"ci.token\"\n";
    let good = format!("{TOKEN}{ISSUER}{file}{}", token("one", "first"));
    folder.configure(&good);
    let gate = folder.guard();
    let shown = "Bearer Zq3v0yHk1Xt7Rb9cWm5LsPd2";
    assert_eq!(status(&gate, shown).await, 200);

    folder.configure(TOKEN);
    folder.tells("no credential is configured").await;
    let failed = "portcullis_reloads_total{what=\"tokens\",outcome=\"failed\"}";
    assert!(metrics.render().contains(failed), "{}", metrics.render());
    assert_eq!(status(&gate, "Bearer first").await, 200);
    assert_eq!(status(&gate, &folder.signed()).await, 200);
    // What is withdrawn where the last good file says is withdrawn all the same.
    folder.put("ci.token", "mX3vT8kLq6Wn9RzC5yPb2HsD7gJf");
    becomes(&gate, shown, 401).await;

    folder.configure(&format!("{good}{}", token("two", "second")));
    becomes(&gate, "Bearer second", 200).await;
}

#[tokio::test]
async fn issuers_that_are_not_active_yet_are_no_way_in_beside_which_credentials_could_go() {
    watching();
    let folder = Folder::new();
    folder.configure(&format!("{TOKEN}{}", token("one", "first")));
    let gate = folder.guard();
    assert_eq!(status(&gate, "Bearer first").await, 200);
    folder.configure(&format!("{TOKEN}{ISSUER}"));
    folder.tells("issuers come into force at a restart").await;
    assert_eq!(status(&gate, "Bearer first").await, 200);
    assert_eq!(status(&gate, &folder.signed()).await, 401);
    assert_eq!(status(&folder.guard(), &folder.signed()).await, 200);
}

#[test]
fn no_credential_and_no_issuer_is_an_error_at_the_start() {
    let folder = Folder::new();
    folder.configure(TOKEN);
    let config = Config::load(folder.directory.path().join("gate.toml")).unwrap();
    let error = Guard::from_config(&config).unwrap_err();
    let reason = error.to_string();
    assert!(reason.ends_with("no credential is configured"), "{reason}");
}
