//! The whole stack, from a configuration file.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use portcullis::config::Config;
use portcullis::source::ForwardedLayer;
use portcullis::{ClientAddr, Guard};
use tempfile::TempDir;
use tower::{Layer, ServiceExt, service_fn};

use super::readiness;
use crate::waiting::until;

fn guard(folder: &Path, text: &str) -> Guard {
    let file = folder.join("gate.toml");
    let head = "[reload]\npoll_interval = \"100ms\"\nsettle = \"5ms\"\n";
    fs::write(&file, format!("{head}{text}")).unwrap();
    Guard::from_config(&Config::load(&file).unwrap()).unwrap()
}

async fn status_from(guard: &Guard, client: &str) -> StatusCode {
    ask(guard, client, "/v2/", None).await
}

async fn ask(guard: &Guard, client: &str, target: &str, token: Option<&str>) -> StatusCode {
    let service = guard.layer(service_fn(|_request| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes"))))
    }));
    let mut request = Request::get(target)
        .header("host", "registry.example")
        .body(Full::<Bytes>::default())
        .unwrap();
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let client = ClientAddr::new(client.parse().unwrap());
    request.extensions_mut().insert(client);
    service.oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn networks_follow_the_file_and_a_broken_file_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let guard = guard(folder.path(), "[source]\nallow = [\"10.0.0.0/8\"]\n");
    assert_eq!(status_from(&guard, "10.1.1.1:1").await, 200);
    assert_eq!(status_from(&guard, "192.0.2.1:1").await, 403);

    let file = folder.path().join("gate.toml");
    fs::write(&file, "[source]\nallow = [\"192.0.2.0/2").unwrap();
    until("refused", || {
        readiness(&guard).contains("the last reload failed")
    });
    assert_eq!(status_from(&guard, "10.1.1.1:1").await, 200);
    fs::write(&file, "[source]\nallow = [\"192.0.2.0/24\"]\n").unwrap();
    for _ in 0..300 {
        if status_from(&guard, "192.0.2.1:1").await == 200 {
            assert_eq!(status_from(&guard, "10.1.1.1:1").await, 403);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new networks never took hold");
}

const GATE: &str = r#"
[source]
deny = ["192.0.2.0/24"]

[auth]
require = "token"
token = [
    { id = "ci", file = "ci.token" },
    { id = "reader", sha256 = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"] },
]

[[policy.rules]]
name = "ci"
who = ["token:ci"]
actions = ["any"]
repositories = ["**"]

[[policy.rules]]
name = "readers"
who = ["token:reader"]
actions = ["pull"]
repositories = ["lib/*"]
"#;

#[tokio::test]
async fn each_step_is_asked_in_its_turn() {
    let folder = TempDir::new().unwrap();
    let ci = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";
    fs::write(folder.path().join("ci.token"), ci).unwrap();
    let guard = guard(folder.path(), GATE);
    let (near, far) = ("10.1.1.1:1", "192.0.2.1:1");
    let (lib, secret) = ("/v2/lib/a/manifests/1", "/v2/secret/a/manifests/1");
    for (client, target, token, status) in [
        (near, lib, Some("test"), 200),
        (near, secret, Some("test"), 403),
        (near, secret, Some(ci), 200),
        (near, lib, None, 401),
        (near, "/v2/lib%2Fa/manifests/1", None, 401),
        (near, "/v2/lib%2Fa/manifests/1", Some(ci), 400),
        (near, "/healthz", Some(ci), 403),
        (far, lib, Some(ci), 403),
        (far, lib, None, 403),
    ] {
        let answer = ask(&guard, client, target, token).await;
        assert_eq!(answer, status, "{client} {target} {token:?}");
    }
}

#[tokio::test]
async fn what_is_not_configured_lets_everything_pass_but_no_twofold_route() {
    let guard = Guard::builder().build();
    assert_eq!(guard.report().enforced, Vec::<String>::new());
    for (target, status) in [
        ("/v2/", 200),
        ("/v2/_catalog", 200),
        ("/v2/secret/a/blobs/uploads/", 405),
        ("/healthz", 200),
        ("/v2/lib%2Fa/manifests/1", 400),
    ] {
        assert_eq!(
            ask(&guard, "192.0.2.1:1", target, None).await,
            status,
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_guard_is_a_layer_of_an_axum_router() {
    let folder = TempDir::new().unwrap();
    let guard = guard(folder.path(), "[source]\nallow = [\"10.0.0.0/8\"]\n");
    let router = axum::Router::new()
        .route("/v2/", axum::routing::get(|| async { "yes" }))
        .layer(guard);
    let request = Request::get("/v2/")
        .header("host", "registry.example")
        .body(axum::body::Body::empty())
        .unwrap();
    // Its address is not known.
    assert_eq!(router.oneshot(request).await.unwrap().status(), 503);
}

#[test]
fn a_wrong_file_is_told_by_line_key_and_what_would_be_right() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gate.toml");
    for (text, place, says) in [
        (
            "preset = \"miror\"\n",
            ":1:10: preset: ",
            "\"mirror\" or \"registry\" is expected",
        ),
        (
            "[limit]\n",
            ":1:2: limit: ",
            "unknown field `limit`, expected one of",
        ),
        (
            "[source]\nallow = [\"10.0.0.0/8\", \"10.0.0/8\"]\n",
            ":2:24: source.allow[1]: ",
            "a network is written like \"10.0.0.0/8\"",
        ),
        (
            "[[limits.limit]]\nname = \"all\"\nkey = \"total\"\nrate = \"fast\"\n",
            ":4:8: limits.limit[0].rate: ",
            "a number of bytes like",
        ),
        (
            "[[limits.limit]]\nname = \"all\"\nkey = \"total\"\n",
            ":1:1: limits.limit[0]: ",
            "give it a rate, a number of streams or a quota",
        ),
        (
            "[[limits.limit]]\nname = \"up\"\nkey = \"total\"\nrate = \"1MB\"\n\
             direction = \"request\"\nshed = { max_wait = \"1s\" }\n",
            ":6:8: limits.limit[0].shed: ",
            "limit \"up\": only pulls are shed",
        ),
        (
            "[[limits.limit]]\nname = \"all\"\nkey = \"total\"\nrate = \"1MB\"\nshed = {}\n",
            ":5:8: limits.limit[0].shed: ",
            "limit \"all\": shedding needs a longest wait",
        ),
        (
            "[auth]\nrequire = \"password\"\n",
            ":2:11: auth.require: ",
            "one of \"token\", \"certificate\", \"token-or-certificate\"",
        ),
        (
            "[auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"ci\"\n",
            ":3:1: auth.token[0]: ",
            "exactly one of `env`, `file` and `sha256`",
        ),
        (
            "[[policy.rules]]\nname = \"ci\"\nwho = [\"ci\"]\nactions = [\"any\"]\n",
            ":3:7: policy.rules[0].who[0]: ",
            "token:",
        ),
        (
            "[tls]\nkey = \"a\"\n",
            ":1:1: tls: ",
            "missing field `certificate`",
        ),
        (
            "[crl]\nfiles = []\ndepth = \"root\"\n",
            ":3:9: crl.depth: ",
            "\"chain\" or \"leaf\" is expected",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let error = Config::load(&file).unwrap_err().to_string();
        assert!(
            error.contains(place) && error.contains(says),
            "{text}: {error}"
        );
    }
}

/// What services read to learn where their clients see them, who calls, or what was asked for.
const OF_PROXIES: [&str; 34] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-path",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-forwarded-user",
    "x-forwarded-tls-client-cert",
    "x_forwarded_host",
    "x-forwarded_proto",
    "x-original-url",
    "x-original-uri",
    "x-original-host",
    "x-rewrite-url",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "x-host",
    "x-http-host-override",
    "x-scheme",
    "front-end-https",
    "x-http-method-override",
    "x-method-override",
    "ssl-client-verify",
    "x-ssl-client-dn",
    "x-auth-request-user",
    "x-webauth-user",
    "x-client-cert",
];

fn with_headers_of_proxies(peer: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::get("/v2/")
        .header("host", "registry.example")
        .body(Full::default())
        .unwrap();
    for name in OF_PROXIES.into_iter().chain(["x-other"]) {
        let name: HeaderName = name.parse().unwrap();
        // Twice, since all lines are to go.
        for value in ["192.0.2.7", "attacker.example"] {
            request.headers_mut().append(&name, value.parse().unwrap());
        }
    }
    if let Some(peer) = peer {
        let peer = ClientAddr::new(peer.parse().unwrap());
        request.extensions_mut().insert(peer);
    }
    request
}

/// The names of the headers that came, sorted.
async fn names<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let names = request.headers().keys().map(HeaderName::as_str);
    let mut names: Vec<_> = names.filter(|name| *name != "host").collect();
    names.sort_unstable();
    Ok(Response::new(Full::new(Bytes::from(names.join(" ")))))
}

async fn reached(guard: &Guard, peer: &str) -> String {
    let service = guard.layer(service_fn(names));
    let response = service.oneshot(with_headers_of_proxies(Some(peer))).await;
    let body = response.unwrap().into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

fn all_but(left_out: &[&str]) -> String {
    let all = OF_PROXIES.into_iter().chain(["x-other"]);
    let mut left: Vec<_> = all.filter(|name| !left_out.contains(name)).collect();
    left.sort_unstable();
    left.join(" ")
}

#[tokio::test]
async fn headers_of_proxies_reach_the_service_from_listed_proxies_only() {
    const LISTED: &str = "[forwarded]\nproxies = [\"10.0.0.0/8\"]\n";
    let folder = TempDir::new().unwrap();
    let with = |section: &str| guard(folder.path(), section);
    for section in [
        "",
        LISTED,
        &format!("{LISTED}address = \"x-forwarded-for\"\n"),
    ] {
        assert_eq!(reached(&with(section), "192.0.2.1:1").await, "x-other");
    }
    let certificate = "x-forwarded-tls-client-cert";
    for (rest, removed) in [
        ("", &["forwarded", "x-forwarded-for", certificate][..]),
        (
            "address = \"x-forwarded-for\"\n",
            &["forwarded", certificate],
        ),
        (
            "address = \"forwarded\"\n",
            &["x-forwarded-for", certificate],
        ),
        (
            "address = \"forwarded\"\nremove = [\"x-forwarded-user\"]\n",
            &["x-forwarded-for", "x-forwarded-user", certificate],
        ),
    ] {
        let guard = with(&format!("{LISTED}{rest}"));
        let found = reached(&guard, "10.1.1.1:1").await;
        // Client certificates of proxies that are not asked for them are removed by their own layer.
        assert_eq!(found, all_but(removed), "{rest}");
    }
}

#[tokio::test]
async fn the_layer_alone_removes_headers_of_proxies_from_peers_without_an_address_too() {
    let proxies = || vec!["10.0.0.0/8".parse().unwrap()];
    for layer in [
        ForwardedLayer::without_proxies(),
        ForwardedLayer::x_forwarded_for(proxies()),
        ForwardedLayer::without_address(proxies()),
    ] {
        for peer in [None, Some("192.0.2.1:1")] {
            let service = layer.layer(service_fn(names));
            let response = service.oneshot(with_headers_of_proxies(peer)).await;
            let body = response.unwrap().into_body().collect().await.unwrap();
            let found = body.to_bytes();
            assert_eq!(found, "x-forwarded-tls-client-cert x-other", "{layer:?}");
        }
    }
}

#[tokio::test]
async fn the_access_log_goes_into_the_file_that_the_configuration_names() {
    let folder = TempDir::new().unwrap();
    let log = "[access_log]\nfile = \"access.jsonl\"\nfields = \"compact\"\n";
    let guard = guard(folder.path(), log);
    assert_eq!(status_from(&guard, "10.1.1.1:1").await, 200);
    // Written once the last of what logs is gone.
    drop(guard);
    let text = fs::read_to_string(folder.path().join("access.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["url.path"], "/v2/");
    assert_eq!(line["http.response.status_code"], 200);
    assert!(line.get("request.id").is_none(), "{line}");
}

#[test]
fn networks_without_a_line_are_an_error_and_no_open_gate() {
    let error = Config::from_toml("[source]\n", ".").unwrap_err();
    assert!(error.to_string().contains("names no network"), "{error}");
    assert!(Config::from_toml("[source]\nallow = []\n", ".").is_ok());
}

#[test]
fn a_log_file_that_cannot_be_opened_is_an_error_with_its_place() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gate.toml");
    let error = |text: &str| {
        fs::write(&file, text).unwrap();
        let config = Config::load(&file);
        let error = config.and_then(|config| Guard::from_config(&config).map(drop));
        error.unwrap_err().to_string()
    };
    let message = error("preset = \"mirror\"\n[access_log]\nfile = \"absent/access.jsonl\"\n");
    assert!(message.contains("gate.toml:3:"), "{message}");
    assert!(message.contains("access_log.file"), "{message}");
    assert!(message.contains("absent/access.jsonl"), "{message}");
    let message = error("[access_log]\nfields = \"compact\"\n");
    assert!(message.contains("access_log.fields"), "{message}");
}
