//! `[auth]` of the configuration file: what it combines, what it refuses, and how it follows the file.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::fmt::Write;
use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::admin::Admin;
use portcullis::config::{Config, ConfigError};
use portcullis::{ClientAddr, Guard, PeerIdentity, Principal};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tower::{Layer, ServiceExt, service_fn};

const HEAD: &str = "[reload]\npoll_interval = \"50ms\"\nsettle = \"5ms\"\n";
const STRONG: &str = "Zq3v0yHk1Xt7Rb9cWm5LsPd2";

fn put(folder: &TempDir, name: &str, text: &str) {
    fs::write(folder.path().join(name), text).unwrap();
}

fn config(folder: &TempDir, text: &str) -> Result<Config, ConfigError> {
    put(folder, "gate.toml", &format!("{HEAD}{text}"));
    Config::load(folder.path().join("gate.toml"))
}

fn guard(folder: &TempDir, text: &str) -> Guard {
    Guard::from_config(&config(folder, text).unwrap()).unwrap()
}

/// Status, and who the service was told that it is and which `Authorization` it got.
async fn ask(
    guard: &Guard,
    authorization: &str,
    client: &str,
    peer: Option<&PeerIdentity>,
) -> (u16, String) {
    let service = guard.layer(service_fn(|request: Request<_>| async move {
        let principal = Principal::of(request.extensions()).unwrap();
        let passed = request.headers().get(AUTHORIZATION);
        let sensitive = passed.is_none_or(http::HeaderValue::is_sensitive);
        let passed = passed.map(|value| value.to_str().unwrap().to_owned());
        let text = format!(
            "{principal} {:?} {passed:?} {sensitive}",
            principal.groups()
        );
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
    }));
    let mut request = Request::get("/v2/team/app/manifests/1")
        .header("host", "registry.example")
        .body(Full::<Bytes>::default())
        .unwrap();
    if !authorization.is_empty() {
        let value = authorization.parse().unwrap();
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let client = format!("{client}:4711").parse().unwrap();
    request.extensions_mut().insert(ClientAddr::new(client));
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer.clone());
    }
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    (head.status.as_u16(), body)
}

async fn status(guard: &Guard, authorization: &str) -> u16 {
    ask(guard, authorization, "10.0.0.1", None).await.0
}

async fn becomes(guard: &Guard, authorization: &str, wanted: u16) {
    let patience = async {
        while status(guard, authorization).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), patience).await;
    assert!(in_time.is_ok(), "never {wanted}: {authorization}");
}

async fn tells(admin: &Admin, line: &str) {
    let patience = async {
        loop {
            let request = Request::get("/readyz").body(()).unwrap();
            let response = admin.clone().oneshot(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            if str::from_utf8(&body).unwrap().contains(line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), patience).await;
    assert!(in_time.is_ok(), "never: {line}");
}

fn basic(user: &str, password: &str) -> String {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

fn sha256(token: &str) -> String {
    let mut digest = String::new();
    for byte in Sha256::digest(token.as_bytes()) {
        write!(digest, "{byte:02x}").unwrap();
    }
    digest
}

fn token(id: &str, secret: &str, more: &str) -> String {
    let digest = sha256(secret);
    format!("[[auth.token]]\nid = \"{id}\"\nsha256 = [\"{digest}\"]\n{more}")
}

fn node(name: &str) -> PeerIdentity {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    PeerIdentity::from_der(parameters.self_signed(&key).unwrap().der()).unwrap()
}

#[test]
fn keys_that_cannot_all_be_meant_are_an_error_with_its_place() {
    let folder = TempDir::new().unwrap();
    let ci = token("ci", "one", "");
    for (keys, says) in [
        (
            format!("require = \"certificate\"\n{ci}"),
            "looks at no token",
        ),
        (
            "require = \"certificate\"\nhtpasswd = [\"a\"]\n".to_owned(),
            "looks at no token",
        ),
        (
            "require = \"certificate\"\ncredentials = [\"a\"]\n".to_owned(),
            "looks at no token",
        ),
        (
            "require = \"certificate\"\nsecrets = [\"a\"]\n".to_owned(),
            "looks at no token",
        ),
        (
            "require = \"certificate\"\ntoken_for_writes = true\n".to_owned(),
            "nobody could write",
        ),
        (
            format!("require = \"token-and-certificate\"\nanonymous = true\n{ci}"),
            "take out `anonymous`",
        ),
        (
            "require = \"token\"\nhtpasswd = [{ file = \"a\", weak = true }]\n".to_owned(),
            "unknown field `weak`",
        ),
        (
            "require = \"token\"\nsecrets = [{ file = \"a\" }]\n".to_owned(),
            "unknown field `file`",
        ),
        (
            "require = \"token\"\nsecrets = [1]\n".to_owned(),
            "a path or a table",
        ),
    ] {
        let error = config(&folder, &format!("[auth]\n{keys}")).unwrap_err();
        let ConfigError::Invalid {
            line, key, message, ..
        } = error
        else {
            panic!("{keys}: {error}");
        };
        assert!((4..=6).contains(&line), "{keys}: {line}");
        assert!(key.starts_with("auth"), "{keys}: {key}");
        assert!(message.contains(says), "{keys}: {message}");
    }
}

#[cfg(feature = "jwt")]
#[test]
fn signed_tokens_beside_a_certificate_alone_are_an_error_and_so_are_issuers_with_one_prefix() {
    let folder = TempDir::new().unwrap();
    let issuer = |name: &str, prefix: &str| {
        format!(
            "[[auth.jwt]]\nkind = \"registry\"\nissuer = \"{name}\"\naudiences = [\"us\"]\n\
             keys = \"keys.json\"\nprefix = \"{prefix}\"\n"
        )
    };
    let bearer = "[auth.bearer]\nrealm = \"https://a.example/\"\nservice = \"us\"\n".to_owned();
    let two = |one: &str, other: &str| issuer("a", one) + &issuer("b", other);
    for (require, rest, says) in [
        ("certificate", issuer("a", ""), "looks at no token"),
        ("certificate", bearer, "looks at no token"),
        ("token", two("", ""), "the same id"),
        ("token", two("a:", "a:"), "the same id"),
        // "b:" of the one could be in the other's subject.
        ("token", two("a:", "a:b:"), "the same id"),
        ("token", two("", "b:"), "the same id"),
        (
            "token",
            issuer("a", "") + "timeout = \"1s\"\n",
            "are in a file",
        ),
        (
            "token",
            issuer("a", "") + "ca = \"ca.crt\"\n",
            "are in a file",
        ),
    ] {
        let error = config(&folder, &format!("[auth]\nrequire = \"{require}\"\n{rest}"));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("gate.toml:") && error.contains(": auth.") && error.contains(says),
            "{error}"
        );
    }
    let jwt = |issuers: String| {
        let read = config(&folder, &format!("[auth]\nrequire = \"token\"\n{issuers}"));
        read.map(drop).map_err(|error| error.to_string())
    };
    let (us, a) = ("[\"us\"]", issuer("a", "a:"));
    for more in [
        a.replace("keys.json", "more.json"),
        a.replace(us, "[\"them\"]")
            .replace("registry", "service-account"),
    ] {
        jwt(two("a:", "b:") + &more).unwrap();
    }
    // A token of one issuer would be the callers of two tables.
    for more in [
        a.clone(),
        a.replace(us, "[\"them\", \"us\"]"),
        a.replace("keys.json", "more.json")
            .replace("\"a:\"", "\"c:\""),
        a.replace("keys.json", "more.json")
            .replace("registry", "service-account"),
    ] {
        let error = jwt(two("a:", "b:") + &more).unwrap_err();
        let says =
            ": auth.jwt[2].issuer: the issuer \"a\" is there already with the audience \"us\"";
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn what_a_table_says_of_a_file_or_a_secret_holds_for_its_users() {
    let folder = TempDir::new().unwrap();
    let hash = bcrypt::hash("open sesame", 4).unwrap();
    put(&folder, "plain", &format!("bob:{hash}\n"));
    put(&folder, "people", &format!("alice:{hash}\n"));
    for (name, password) in [("strong", STRONG), ("weak", "hunter2")] {
        fs::create_dir(folder.path().join(name)).unwrap();
        put(
            &folder,
            &format!("{name}/username"),
            &format!("{name}-node"),
        );
        put(&folder, &format!("{name}/password"), password);
    }
    let text = "[auth]\nrequire = \"token\"\n\
        htpasswd = [\"plain\", { file = \"people\", groups = [\"people\"], networks = [\"10.0.0.0/8\"] }]\n\
        secrets = [\"strong\", { directory = \"weak\", groups = [\"nodes\"], identity = \"dns:node-7\", weak = true }]\n";
    let gate = guard(&folder, text);
    let (here, there) = ("10.0.0.1", "192.0.2.1");
    let (seven, eight) = (node("node-7"), node("node-8"));
    let alice = basic("alice", "open sesame");
    let bob = basic("bob", "open sesame");
    let weak = basic("weak-node", "hunter2");
    let strong = basic("strong-node", STRONG);
    for (authorization, client, peer, found) in [
        (&alice, here, None, Some("token:alice [\"people\"]")),
        (&alice, there, None, None),
        (&bob, there, None, Some("token:bob []")),
        (
            &weak,
            there,
            Some(&seven),
            Some("token:weak-node [\"nodes\"]"),
        ),
        (&weak, here, Some(&eight), None),
        (&weak, here, None, None),
        (&strong, there, None, Some("token:strong-node []")),
    ] {
        let (status, body) = ask(&gate, authorization, client, peer).await;
        match found {
            Some(found) => assert!(status == 200 && body.starts_with(found), "{body}"),
            None => assert_eq!(status, 401),
        }
    }
    let strict = text.replace(", weak = true", "");
    let error = Guard::from_config(&config(&folder, &strict).unwrap()).unwrap_err();
    let reason = error.to_string();
    assert!(reason.contains("portcullisctl token"), "{reason}");
    assert!(!reason.contains("hunter2"), "{reason}");
}

#[tokio::test]
async fn the_service_gets_authorization_only_if_the_file_says_so_and_marked_sensitive() {
    let folder = TempDir::new().unwrap();
    let ci = token("ci", "one", "");
    let taken_off = guard(&folder, &format!("[auth]\nrequire = \"token\"\n{ci}"));
    let (_, body) = ask(&taken_off, "Bearer one", "10.0.0.1", None).await;
    assert_eq!(body, "token:ci [] None true");
    let keys = "require = \"token\"\npass_authorization_on = true\n";
    let passed_on = guard(&folder, &format!("[auth]\n{keys}{ci}"));
    let (_, body) = ask(&passed_on, "Bearer one", "10.0.0.1", None).await;
    assert_eq!(body, "token:ci [] Some(\"Bearer one\") true");
    let told = |guard: &Guard| guard.report().to_string().contains("Authorization headers");
    assert!(told(&passed_on) && !told(&taken_off));
}

#[tokio::test]
async fn a_token_that_is_taken_out_of_the_file_is_refused_without_a_restart() {
    let folder = TempDir::new().unwrap();
    let head = "[auth]\nrequire = \"token\"\n";
    let (one, two) = (token("one", "first", ""), token("two", "second", ""));
    let gate = guard(&folder, &format!("{head}{one}{two}"));
    assert_eq!(status(&gate, "Bearer first").await, 200);
    assert_eq!(status(&gate, "Bearer second").await, 200);

    config(&folder, &format!("{head}{two}")).unwrap();
    becomes(&gate, "Bearer first", 401).await;
    assert_eq!(status(&gate, "Bearer second").await, 200);

    // One that is over is as good as taken out, and a new one counts.
    let over = token("two", "second", "expires = 2020-01-01T00:00:00Z\n");
    let three = token("three", "third", "comment = \"the third\"\n");
    config(&folder, &format!("{head}{over}{three}")).unwrap();
    becomes(&gate, "Bearer second", 401).await;
    assert_eq!(status(&gate, "Bearer third").await, 200);
}

#[tokio::test]
async fn a_broken_file_takes_no_credential_away_and_a_token_file_is_followed_all_the_same() {
    let folder = TempDir::new().unwrap();
    put(&folder, "ci.token", STRONG);
    let text = format!(
        "[auth]\nrequire = \"token\"\n{}[[auth.token]]\nid = \"ci\"\nfile = \"ci.token\"\n",
        token("one", "first", "")
    );
    let gate = guard(&folder, &text);
    let admin = Admin::new().with_checks(gate.checks());
    let shown = format!("Bearer {STRONG}");
    assert_eq!(status(&gate, &shown).await, 200);
    for broken in [
        "[auth\n",
        "[auth]\nrequire = \"certificate\"\ntoken_for_writes = true\n",
        "",
    ] {
        assert!(broken.is_empty() == config(&folder, broken).is_ok());
        tells(&admin, "[~] credentials: ").await;
        assert_eq!(status(&gate, "Bearer first").await, 200);
    }
    // What is withdrawn there is withdrawn.
    put(&folder, "ci.token", "mX3vT8kLq6Wn9RzC5yPb2HsD7gJf");
    becomes(&gate, &shown, 401).await;
    assert_eq!(
        status(&gate, "Bearer mX3vT8kLq6Wn9RzC5yPb2HsD7gJf").await,
        200
    );
    config(&folder, &text.replace("\"one\"", "\"two\"")).unwrap();
    tells(&admin, "[+] credentials: ok").await;
    let (_, body) = ask(&gate, "Bearer first", "10.0.0.1", None).await;
    assert!(body.starts_with("token:two"), "{body}");
}
