//! The operator's credentials for the upstream, and who gets to see them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::any;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{Mirror, run_within};

const USER: (&str, &str) = ("MIRROR_UPSTREAM_USERNAME", "puller");
const PASSWORD: (&str, &str) = ("MIRROR_UPSTREAM_PASSWORD", "upstream-s3cret");
const BASIC: &str = "Basic cHVsbGVyOnVwc3RyZWFtLXMzY3JldA==";

/// `path authorization` of each request.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// A registry that wants `wanted` and otherwise answers with the challenge.
async fn registry(
    wanted: &'static str,
    challenge: impl Fn(SocketAddr) -> String,
) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let challenge = challenge(address);
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let handler = move |request: Request| async move {
        let path = request.uri().path().to_owned();
        let shown = request.headers().get("authorization");
        let shown = shown.map_or("", |value| value.to_str().unwrap()).to_owned();
        log.lock().unwrap().push((path.clone(), shown.clone()));
        if path == "/token" {
            return r#"{"access_token":"granted"}"#.into_response();
        }
        if shown != wanted {
            return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
        }
        let kind = "application/vnd.oci.image.index.v1+json";
        (
            [("content-type", kind)],
            r#"{"schemaVersion":2,"manifests":[]}"#,
        )
            .into_response()
    };
    let router = Router::new().fallback(any(handler));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seen)
}

async fn pull(address: SocketAddr, arguments: &[&str]) -> (u16, String) {
    let data = TempDir::new().unwrap();
    let url = format!("http://{address}");
    let mut all = vec!["--upstream", &url];
    all.extend(arguments);
    let mirror = Mirror::within(&data, &all, &[USER, PASSWORD]).await;
    let request = mirror.by_token().get(mirror.url("/v2/a/manifests/tag"));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), mirror.log())
}

#[tokio::test]
async fn the_upstream_itself_gets_the_credentials_when_it_asks() {
    let (address, seen) = registry(BASIC, |_| "Basic realm=\"upstream\"".to_owned()).await;
    let (status, log) = pull(address, &[]).await;
    assert_eq!(status, 200);
    assert!(!log.contains(PASSWORD.1), "{log}");
    // The mirror asks for `/v2/` too, when it starts.
    let mut seen = seen.lock().unwrap();
    seen.retain(|(path, _)| path.ends_with("/tag"));
    // Not before it asks.
    assert_eq!(seen.first().unwrap().1, "");
    assert_eq!(seen.last().unwrap().1, BASIC);
}

#[tokio::test]
async fn a_realm_on_the_same_host_gets_the_credentials_and_the_registry_the_token() {
    let realm = |address| format!("Bearer realm=\"http://{address}/token\"");
    let (address, seen) = registry("Bearer granted", realm).await;
    assert_eq!(pull(address, &[]).await.0, 200);
    for (path, shown) in seen.lock().unwrap().iter() {
        if path == "/token" {
            assert_eq!(shown, BASIC);
        } else {
            assert!(["", "Bearer granted"].contains(&shown.as_str()), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_realm_elsewhere_gets_the_credentials_only_if_the_operator_names_it() {
    // The same server by another name.
    let realm =
        |address: SocketAddr| format!("Bearer realm=\"http://localhost:{}/token\"", address.port());
    let named = ["--upstream-realm", "localhost"];
    for (arguments, expected) in [(&[][..], None), (&named[..], Some(BASIC))] {
        let (address, seen) = registry("Bearer granted", realm).await;
        let (status, log) = pull(address, arguments).await;
        let seen = seen.lock().unwrap();
        let token = seen.iter().find(|(path, _)| path == "/token");
        assert_eq!(token.map(|(_, shown)| shown.as_str()), expected);
        // An operator who gave credentials learns why they are not used.
        assert_eq!(
            log.contains("--upstream-realm"),
            expected.is_none(),
            "{log}"
        );
        assert_eq!(status, if expected.is_some() { 200 } else { 502 });
    }
}

#[tokio::test]
async fn a_realm_on_another_port_is_another_server() {
    let (other, seen) = registry("", |_| String::new()).await;
    let named = other.to_string();
    for (arguments, asked, shown) in [
        (vec![], false, ""),
        (vec!["--upstream-redirect", &named], true, ""),
        (vec!["--upstream-realm", &named], true, BASIC),
    ] {
        seen.lock().unwrap().clear();
        let realm = |_| format!("Bearer realm=\"http://{other}/token\"");
        let (address, _) = registry("Bearer granted", realm).await;
        let (status, _) = pull(address, &arguments).await;
        assert_eq!(status, if asked { 200 } else { 502 }, "{arguments:?}");
        let seen = seen.lock().unwrap();
        assert_eq!(!seen.is_empty(), asked, "{arguments:?}");
        assert!(seen.iter().all(|(_, found)| found == shown), "{seen:?}");
    }
}

#[tokio::test]
async fn credentials_that_are_wrong_say_nothing_of_what_there_is_and_are_logged() {
    let basic = |_: SocketAddr| "Basic realm=\"upstream\"".to_owned();
    let (address, _) = registry("Basic other", basic).await;
    let (status, log) = pull(address, &[]).await;
    assert_eq!(status, 502);
    assert!(
        log.contains("does not accept this mirror's credentials"),
        "{log}"
    );
    assert!(!log.contains(PASSWORD.1), "{log}");
}

#[tokio::test]
async fn a_namespace_that_is_none_is_an_error_at_the_start() {
    let data = TempDir::new().unwrap();
    for namespace in ["https://docker.io", "", "docker.io/library"] {
        let arguments = ["--listen", "127.0.0.1:0", "--namespace", namespace];
        let output = run_within(data.path(), &arguments, &[]).await;
        assert!(!output.status.success(), "{namespace:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("--namespace"), "{said}");
    }
}

#[tokio::test]
async fn half_of_the_credentials_is_an_error_at_the_start() {
    let data = TempDir::new().unwrap();
    for half in [USER, PASSWORD] {
        let arguments = [
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            "http://127.0.0.1:1",
        ];
        let output = run_within(data.path(), &arguments, &[half]).await;
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("MIRROR_UPSTREAM_PASSWORD"), "{said}");
        assert!(!said.contains(PASSWORD.1), "{said}");
    }
}
