//! An issuer's keys, fetched from a URL.
#![cfg(all(feature = "jwt-fetch", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::http_server;
mod tls;

use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_server::{Answer, Server};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use portcullis::Watched;
use portcullis::auth::CredentialError;
use portcullis::auth::jwt::{Issuer, KeySet, KeySetFetch};
use portcullis::auth::{Authentication, TokenAuthLayer};
use rcgen::KeyPair;
use serde_json::json;
use tower::{Layer, ServiceExt, service_fn};

struct Key(&'static str, KeyPair);

impl Key {
    fn new(id: &'static str) -> Self {
        Self(id, KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap())
    }

    fn sign(&self, issuer: &str) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.0.to_owned());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let claims = json!({ "iss": issuer, "aud": "us", "sub": "a", "exp": now.as_secs() + 600 });
        // With both of its providers compiled it cannot choose one, and this is what the crate chooses.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let key = EncodingKey::from_ed_der(&self.1.serialize_der());
        encode(&header, &claims, &key).unwrap()
    }
}

fn set(keys: &[&Key]) -> Vec<u8> {
    let keys: Vec<_> = keys
        .iter()
        .map(|Key(id, pair)| {
            let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key_raw());
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x })
        })
        .collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

fn fetch(server: &Server) -> KeySetFetch {
    KeySetFetch::new(server.url("/keys"))
        .with_interval(Duration::from_secs(60 * 60))
        .with_pause(Duration::from_millis(20))
        .with_timeout(Duration::from_secs(20))
}

fn authentication(keys: Watched<KeySet>) -> Authentication {
    let issuer = Issuer::of_registry_tokens("hub", keys);
    Authentication::signed([issuer.with_audiences(["us"]).unwrap()]).with_throttle(None)
}

async fn status(authentication: &Authentication, key: &Key) -> u16 {
    status_of(authentication, &key.sign("hub")).await
}

async fn status_of(authentication: &Authentication, token: &str) -> u16 {
    let layer = TokenAuthLayer::new(authentication.clone());
    let service = layer.layer(service_fn(async |_| {
        Ok::<_, Infallible>(Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
    }));
    let token = format!("Bearer {token}");
    let request = Request::get("/v2/")
        .header("host", "registry.example")
        .header(AUTHORIZATION, token)
        .body(http_body_util::Empty::<bytes::Bytes>::new());
    service
        .oneshot(request.unwrap())
        .await
        .unwrap()
        .status()
        .as_u16()
}

async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !reached().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_known_yet_is_asked_for_at_once() {
    let server = Server::start();
    let (old, new) = (Key::new("old"), Key::new("new"));
    server.answer(Answer::list(&set(&[&old]), "1"));
    let authentication = authentication(fetch(&server).begin().unwrap());
    assert_eq!(status(&authentication, &old).await, 200);
    server.answer(Answer::list(&set(&[&new]), "2"));
    until("new", async || status(&authentication, &new).await == 200).await;
    assert_eq!(status(&authentication, &old).await, 401);
    // The next question is whether there is another than this.
    until("asked again", async || {
        status(&authentication, &old).await;
        let last = server.requests().last().cloned().unwrap();
        last.header("if-none-match")
            .is_some_and(|tag| tag.contains('2'))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_asks_no_more_often_than_the_pause_allows() {
    let server = Server::start();
    let (known, unknown) = (Key::new("known"), Key::new("unknown"));
    server.answer(Answer::list(&set(&[&known]), "1"));
    let keys = fetch(&server)
        .with_pause(Duration::from_secs(60 * 60))
        .begin();
    let authentication = authentication(keys.unwrap());
    for _ in 0..200 {
        assert_eq!(status(&authentication, &unknown).await, 401);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_issuer_asks_for_no_keys() {
    let server = Server::start();
    let (known, unknown) = (Key::new("known"), Key::new("unknown"));
    server.answer(Answer::list(&set(&[&known]), "1"));
    let authentication = authentication(fetch(&server).begin().unwrap());
    for _ in 0..50 {
        let token = unknown.sign("somebody else");
        assert_eq!(status_of(&authentication, &token).await, 401);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.requests().len(), 1);
    status(&authentication, &unknown).await;
    until("asked", async || server.requests().len() > 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_keys_once_more_change_nothing_where_the_server_has_no_validators() {
    let server = Server::start();
    let keys = set(&[&Key::new("one")]);
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", keys.len());
    answer.push_str("connection: close\r\n\r\n");
    server.answer(Answer::Raw([answer.into_bytes(), keys].concat()));
    let keys = fetch(&server)
        .with_interval(Duration::from_millis(30))
        .begin()
        .unwrap();
    let generation = keys.generation();
    until("asked again", async || server.requests().len() > 3).await;
    assert_eq!(keys.generation(), generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_answer_leaves_the_last_good_keys_active_and_is_reported() {
    let server = Server::start();
    let key = Key::new("one");
    let good = set(&[&key]);
    server.answer(Answer::list(&good, "1"));
    let keys = fetch(&server)
        .with_interval(Duration::from_millis(30))
        .with_timeout(Duration::from_millis(300))
        .begin()
        .unwrap();
    let authentication = authentication(keys.clone());
    for (what, answer) in [
        ("a status", Answer::Status(500)),
        ("no set", Answer::list(b"{}", "2")),
        ("truncated", Answer::Truncated(good.clone())),
        ("endless", Answer::Endless),
        ("silence", Answer::Silence),
        (
            "elsewhere",
            Answer::Redirect("http://127.0.0.2:1/keys".to_owned()),
        ),
        ("no HTTP", Answer::Raw(b"keys".to_vec())),
    ] {
        server.answer(answer);
        until(what, async || keys.health().failure.is_some()).await;
        assert_eq!(status(&authentication, &key).await, 200, "{what}");
        // The same as before: 304.
        server.answer(Answer::list(&good, "1"));
        until("healed", async || keys.health().failure.is_none()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_fetched_for_the_time_that_is_set_end_and_come_back() {
    let server = Server::start();
    let key = Key::new("one");
    let good = set(&[&key]);
    server.answer(Answer::list(&good, "1"));
    let keys = fetch(&server)
        .with_interval(Duration::from_millis(30))
        .with_stale_after(Duration::from_millis(1))
        .begin()
        .unwrap();
    let authentication = authentication(keys.clone());
    assert_eq!(status(&authentication, &key).await, 200);
    let stranger = Key::new("stranger");
    assert_eq!(status(&authentication, &stranger).await, 401);
    for answer in [Answer::Status(500), Answer::Silence] {
        server.answer(answer);
        until("ended", async || keys.health().lapsed).await;
        // A key that was withdrawn would be refused, and whether this one was is not known.
        for key in [&key, &stranger] {
            assert_eq!(status(&authentication, key).await, 503);
        }
        let other = stranger.sign("somebody else");
        assert_eq!(status_of(&authentication, &other).await, 401);
        let readiness = portcullis::admin::Readiness::of(&keys);
        assert!(matches!(
            readiness,
            portcullis::admin::Readiness::NotReady(_)
        ));
        // The same set by the same validators comes back all the same.
        server.answer(Answer::list(&good, "1"));
        until("back", async || status(&authentication, &key).await == 200).await;
        assert!(keys.health().failure.is_none() && !keys.health().lapsed);
        assert_eq!(status(&authentication, &stranger).await, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_file_that_ended_answer_503_for_their_issuer_and_for_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let key = Key::new("one");
    std::fs::write(&file, set(&[&key])).unwrap();
    let watch = portcullis::reload::WatchOptions::default()
        .with_poll_interval(Duration::from_millis(20))
        .with_stale_after(Duration::from_millis(1));
    let keys = KeySet::watch(&file, watch).unwrap();
    let issuers = [("hub", keys.clone()), ("other", fixed(&key))].map(|(name, keys)| {
        let issuer = Issuer::of_registry_tokens(name, keys);
        issuer.with_audiences(["us"]).unwrap()
    });
    let authentication = Authentication::signed(issuers).with_throttle(None);
    assert_eq!(status(&authentication, &key).await, 200);
    std::fs::write(&file, "{").unwrap();
    until("ended", async || keys.health().lapsed).await;
    for (issuer, found) in [("hub", 503), ("other", 200), ("nobody", 401)] {
        let token = key.sign(issuer);
        assert_eq!(status_of(&authentication, &token).await, found, "{issuer}");
    }
    std::fs::write(&file, set(&[&key])).unwrap();
    until("back", async || status(&authentication, &key).await == 200).await;
}

fn fixed(key: &Key) -> Watched<KeySet> {
    Watched::fixed(KeySet::from_json(&set(&[key])).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_keys_at_the_start_are_an_error() {
    let server = Server::start();
    for (answer, reason) in [
        (Answer::Status(404), "404"),
        (Answer::list(br#"{"keys":[]}"#, "1"), "has no"),
    ] {
        server.answer(answer);
        let error = fetch(&server).begin().unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    server.stop();
    assert!(fetch(&server).begin().is_err());
    let wrong = KeySetFetch::new("file:///etc/keys").begin();
    assert!(matches!(wrong, Err(CredentialError::Fetch { .. })));
}

#[test]
fn keys_come_over_tls_or_from_this_machine_alone() {
    for url in [
        "http://192.0.2.1/keys",
        "http://auth.example.org/keys",
        "http://localhost.example.org/keys",
        "http://127.0.0.1.example.org/keys",
    ] {
        let error = KeySetFetch::new(url).begin().unwrap_err();
        assert!(
            matches!(error, CredentialError::InTheClear { .. }),
            "{error}"
        );
    }
    let nowhere = KeySetFetch::new("http://[::1]:1/keys").begin();
    assert!(matches!(nowhere, Err(CredentialError::Fetch { .. })));
}

#[cfg(feature = "config")]
#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_pulls_what_the_policy_gives_its_namespace_by_keys_that_need_a_token() {
    use portcullis::{Guard, config::Config};

    let server = Server::start();
    let cluster = Key::new("cluster");
    server.answer(Answer::list(&set(&[&cluster]), "1"));
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("token", "first.pod.token\n");
    let url = server.url("/openid/v1/jwks");
    let text = format!(
        "[auth]\nrequire = \"token\"\n[[auth.jwt]]\nkind = \"service-account\"\n\
         issuer = \"cluster\"\naudiences = [\"us\"]\nkeys = \"{url}\"\ntoken_file = \"token\"\n\
         interval = \"1s\"\ntimeout = \"20s\"\n[[policy.rules]]\nname = \"team\"\n\
         who = [\"group:system:serviceaccounts:team-a\"]\nactions = [\"pull\"]\n\
         repositories = [\"team-a/*\"]\n"
    );
    write("gate.toml", &text);
    let file = folder.path().join("gate.toml");
    let guard = || Guard::from_config(&Config::load(&file).unwrap());
    let gate = guard().unwrap();
    let report = gate.report().to_string();
    let line = "tokens that cluster signed are taken, for what is allowed to their callers";
    assert!(report.contains(line), "{report}");
    let status = async |account: &str, target: &str| {
        let service = gate.layer(service_fn(async |_: Request<_>| {
            Ok::<_, Infallible>(Response::new(http_body_util::Empty::<bytes::Bytes>::new()))
        }));
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("cluster".to_owned());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let claims = json!({
            "iss": "cluster", "aud": ["us"], "exp": now.as_secs() + 600,
            "sub": format!("system:serviceaccount:{account}"),
        });
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let key = EncodingKey::from_ed_der(&cluster.1.serialize_der());
        let token = encode(&header, &claims, &key).unwrap();
        let request = Request::get(target)
            .header("host", "registry.example")
            .extension(portcullis::ClientAddr::new(
                "192.0.2.1:4711".parse().unwrap(),
            ))
            .header(AUTHORIZATION, format!("Bearer {token}"));
        let body = http_body_util::Empty::<bytes::Bytes>::new();
        let answer = service.oneshot(request.body(body).unwrap()).await.unwrap();
        answer.status().as_u16()
    };
    for (account, target, found) in [
        ("team-a:builder", "/v2/team-a/app/manifests/1", 200),
        ("team-a:builder", "/v2/team-b/app/manifests/1", 403),
        ("team-b:builder", "/v2/team-a/app/manifests/1", 403),
        ("team-a", "/v2/team-a/app/manifests/1", 401),
    ] {
        assert_eq!(status(account, target).await, found, "{account} {target}");
    }
    let shown = |server: &Server| {
        let last = server.requests().last().cloned().unwrap();
        last.header("authorization").map(str::to_owned)
    };
    assert_eq!(shown(&server).as_deref(), Some("Bearer first.pod.token"));
    // A kubelet puts another there within the hour.
    write("token", "second.pod.token\n");
    until("the second", async || {
        shown(&server).as_deref() == Some("Bearer second.pod.token")
    })
    .await;
    write("token", "no token\n");
    let error = guard().unwrap_err();
    let reason = error.to_string();
    assert!(reason.ends_with("there is no token in it"), "{reason}");
    assert!(!format!("{gate:?}{reason}").contains("pod.token"));
}
