//! Basic and Bearer credentials, and certificates beside them.
#![cfg(all(feature = "auth", feature = "x509"))]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::auth::{
    Authentication, CredentialError, CredentialSource, Credentials, TokenAuthLayer,
};
use portcullis::identity::{Mapping, Rule};
use portcullis::reload::WatchOptions;
use portcullis::{
    ClientAddr, Connection, PeerIdentity, Preset, Principal, Refusal, Responder, Watched,
};
use tempfile::TempDir;
use tower::{Layer, ServiceExt, service_fn};

use crate::waiting::until;

const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

struct Answer {
    status: u16,
    refusal: Option<Refusal>,
    headers: HeaderMap,
    body: String,
}

async fn ask(
    authentication: &Authentication,
    authorization: &[&str],
    peer: Option<&PeerIdentity>,
) -> Answer {
    let layer = TokenAuthLayer::new(authentication.clone());
    ask_layer(&layer, authorization, peer).await
}

async fn ask_layer(
    layer: &TokenAuthLayer,
    authorization: &[&str],
    peer: Option<&PeerIdentity>,
) -> Answer {
    let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
        assert!(!request.headers().contains_key(AUTHORIZATION));
        let principal = Principal::of(request.extensions()).unwrap().to_string();
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(principal))))
    }));
    let mut request = Request::get("/v2/")
        .header("host", "registry.example")
        .body(Full::<Bytes>::default())
        .unwrap();
    for value in authorization {
        let value = value.parse().unwrap();
        request.headers_mut().append(AUTHORIZATION, value);
    }
    let client = ClientAddr::new("192.0.2.1:4711".parse().unwrap());
    request.extensions_mut().insert(client);
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer.clone());
    }
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status.as_u16(),
        refusal: head.extensions.get().copied(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

fn options() -> WatchOptions {
    WatchOptions::default()
        .with_poll_interval(Duration::from_millis(100))
        .with_settle(Duration::from_millis(5))
}

fn tokens(folder: &TempDir) -> Watched<Credentials> {
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    Credentials::watch([CredentialSource::file("ci", file)], options()).unwrap()
}

fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn node() -> PeerIdentity {
    named("node-7")
}

fn named(name: &str) -> PeerIdentity {
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    PeerIdentity::from_der(parameters.self_signed(&key).unwrap().der()).unwrap()
}

#[tokio::test]
async fn a_token_lets_its_owner_in_by_basic_and_by_bearer() {
    let folder = TempDir::new().unwrap();
    let wanted = Authentication::token(tokens(&folder));
    for shown in [basic("ci", TOKEN), bearer(TOKEN)] {
        let answer = ask(&wanted, &[&shown], None).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "token:ci"));
    }
}

#[tokio::test]
async fn every_wrong_credential_is_answered_with_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let wanted = Authentication::token(tokens(&folder));
    let nothing = ask(&wanted, &[], None).await;
    assert_eq!(nothing.status, 401);
    assert!(!nothing.headers.contains_key(WWW_AUTHENTICATE));
    for shown in [
        vec![basic("ci", "another-token-0123456789")],
        vec![basic("nobody", TOKEN)],
        vec![basic("", TOKEN)],
        vec![bearer("another-token-0123456789")],
        vec!["Basic Og==".to_owned()],
        vec!["x".to_owned()],
        vec![bearer(TOKEN), bearer(TOKEN)],
    ] {
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        let answer = ask(&wanted, &shown, None).await;
        assert_eq!(answer.status, 401, "{shown:?}");
        assert_eq!(
            (answer.headers, answer.body),
            (nothing.headers.clone(), nothing.body.clone())
        );
    }
}

#[tokio::test]
async fn a_registry_challenges_with_exactly_one_basic_line() {
    let folder = TempDir::new().unwrap();
    let layer = TokenAuthLayer::new(Authentication::token(tokens(&folder)))
        .with_responder(Responder::new(Preset::Registry));
    let answer = ask_layer(&layer, &[], None).await;
    let lines: Vec<_> = answer.headers.get_all(WWW_AUTHENTICATE).iter().collect();
    assert_eq!(lines, ["Basic realm=\"registry\", charset=\"UTF-8\""]);
}

#[tokio::test]
async fn certificates_and_tokens_combine_as_asked() {
    let folder = TempDir::new().unwrap();
    let tokens = tokens(&folder);
    let node = node();
    let (token, wrong) = (bearer(TOKEN), bearer("another-token-0123456789"));
    let either = Authentication::token_or_certificate(tokens.clone());
    let both = Authentication::token_and_certificate(tokens.clone());
    let certificate = Authentication::certificate();
    let anyone = Authentication::token_or_certificate(tokens.clone()).or_anonymous();
    let needed = both.clone().or_anonymous();
    let only_token = Authentication::token(tokens);
    for (wanted, shown, peer, status, body) in [
        (&either, None, true, 200, "cert:node-7"),
        (&either, Some(&token), false, 200, "token:ci"),
        (&either, Some(&token), true, 200, "token:ci"),
        (&either, Some(&wrong), true, 401, ""),
        (&either, None, false, 401, ""),
        (&both, Some(&token), true, 200, "token:ci"),
        (&both, Some(&token), false, 401, ""),
        (&both, None, true, 401, ""),
        (&both, Some(&wrong), true, 401, ""),
        // What is needed is needed, whether or not the anonymous are let in elsewhere.
        (&needed, None, true, 401, ""),
        (&needed, None, false, 401, ""),
        (&certificate, None, true, 200, "cert:node-7"),
        (&certificate, Some(&wrong), true, 200, "cert:node-7"),
        (&certificate, Some(&token), false, 401, ""),
        (&only_token, None, true, 401, ""),
        (&anyone, None, false, 200, "anonymous"),
        (&anyone, None, true, 200, "cert:node-7"),
        (&anyone, Some(&wrong), false, 401, ""),
    ] {
        let shown: Vec<&str> = shown.iter().map(|shown| shown.as_str()).collect();
        let answer = ask(wanted, &shown, peer.then_some(&node)).await;
        assert_eq!(answer.status, status, "{wanted:?} {shown:?} {peer}");
        if status == 200 {
            assert_eq!(answer.body, body);
        }
    }
}

#[tokio::test]
async fn a_caller_is_refused_for_what_it_lacks() {
    use Refusal::{CertificateMissing as NoCertificate, CredentialsMissing as NoToken};

    let folder = TempDir::new().unwrap();
    let tokens = tokens(&folder);
    let node = node();
    let token = bearer(TOKEN);
    let both = Authentication::token_and_certificate(tokens.clone());
    for (wanted, shown, peer, refusal) in [
        (Authentication::certificate(), None, false, NoCertificate),
        (
            Authentication::certificate(),
            Some(&token),
            false,
            NoCertificate,
        ),
        (Authentication::token(tokens.clone()), None, true, NoToken),
        (
            Authentication::token_or_certificate(tokens),
            None,
            false,
            NoToken,
        ),
        (both.clone(), None, true, NoToken),
        (both.clone(), None, false, NoCertificate),
        (both, Some(&token), false, NoCertificate),
    ] {
        let shown: Vec<&str> = shown.iter().map(|shown| shown.as_str()).collect();
        let answer = ask(&wanted, &shown, peer.then_some(&node)).await;
        assert_eq!(answer.refusal, Some(refusal), "{wanted:?} {shown:?} {peer}");
    }
}

/// A proxy forwards the certificates of several clients on one connection, and layers have rules of their own.
#[tokio::test]
async fn who_was_found_on_a_connection_is_not_taken_for_another_client_or_by_other_rules() {
    let by =
        |mapping: Mapping| TokenAuthLayer::new(Authentication::certificate().with_mapping(mapping));
    let rule = |id: &str| Rule::new(id).unwrap().when("dns", "{name}").unwrap();
    let plain = by(Mapping::default());
    let first = by(Mapping::new([rule("first/{name}")]).unwrap());
    let second = by(Mapping::new([rule("second/{name}")]).unwrap());
    let (seven, eight) = (named("node-7"), named("node-8"));
    let connection = Connection::builder("192.0.2.1:4711".parse().unwrap()).build();
    for _ in 0..2 {
        for (layer, peer, expected) in [
            (&plain, &seven, "cert:node-7"),
            (&plain, &seven, "cert:node-7"),
            (&plain, &eight, "cert:node-8"),
            (&first, &eight, "cert:first/node-8"),
            (&second, &eight, "cert:second/node-8"),
            (&second, &seven, "cert:second/node-7"),
            (&first, &seven, "cert:first/node-7"),
        ] {
            let service = layer.layer(service_fn(|request: Request<Full<Bytes>>| async move {
                let principal = Principal::of(request.extensions()).unwrap().to_string();
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(principal))))
            }));
            let mut request = Request::new(Full::<Bytes>::default());
            request.extensions_mut().insert(connection.clone());
            request.extensions_mut().insert(peer.clone());
            let answer = service.oneshot(request).await.unwrap().into_body();
            let answer = answer.collect().await.unwrap().to_bytes();
            assert_eq!(answer, expected);
        }
    }
}

#[tokio::test]
async fn a_changed_file_takes_hold_and_a_bad_one_does_not() {
    let folder = TempDir::new().unwrap();
    let tokens = tokens(&folder);
    let wanted = Authentication::token(tokens.clone());
    let file = folder.path().join("token");
    fs::write(&file, "").unwrap();
    until("refused", || tokens.health().failure.is_some());
    assert_eq!(ask(&wanted, &[&bearer(TOKEN)], None).await.status, 200);

    fs::write(&file, "mX3vT8kLq6Wn9RzC5yPb2HsD7gJf").unwrap();
    let next = bearer("mX3vT8kLq6Wn9RzC5yPb2HsD7gJf");
    for _ in 0..300 {
        if ask(&wanted, &[&next], None).await.status == 200 {
            assert_eq!(ask(&wanted, &[&bearer(TOKEN)], None).await.status, 401);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new token never took hold");
}

#[test]
fn tokens_that_would_leave_the_gate_open_are_errors() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        CredentialSource::file(name, file)
    };
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let load = |specs: Vec<CredentialSource>| Credentials::watch(specs, options()).map(drop);
    assert!(matches!(load(vec![]), Err(CredentialError::None)));
    assert!(matches!(
        load(vec![file("empty", "")]),
        Err(CredentialError::Empty { .. })
    ));
    assert!(matches!(
        load(vec![file("newline", "\n")]),
        Err(CredentialError::Empty { .. })
    ));
    assert!(matches!(
        load(vec![file("short", "abc")]),
        Err(CredentialError::TooWeak { .. })
    ));
    let two_lines = file("lines", "one-token-0123456789\nanother-token-012345\n");
    assert!(matches!(
        load(vec![two_lines]),
        Err(CredentialError::Characters { .. })
    ));
    let missing = CredentialSource::file("ci", folder.path().join("nowhere"));
    assert!(matches!(
        load(vec![missing]),
        Err(CredentialError::Unreadable { .. })
    ));
    let unset = CredentialSource::variable("ci", "PORTCULLIS_TEST_UNSET");
    assert!(matches!(
        load(vec![unset]),
        Err(CredentialError::NoVariable { .. })
    ));
    let none = CredentialSource::sha256("ci", Vec::<String>::new()).unwrap();
    assert!(matches!(
        load(vec![none]),
        Err(CredentialError::NoSecret { .. })
    ));
    for text in [
        "",
        "abc",
        &digest[1..],
        &digest.replace('9', "g"),
        "é".repeat(32).as_str(),
    ] {
        let spec = CredentialSource::sha256("ci", [text]);
        assert!(
            matches!(spec, Err(CredentialError::Digest { .. })),
            "{text}"
        );
    }
    let same = vec![
        CredentialSource::sha256("a", [digest]).unwrap(),
        CredentialSource::sha256("b", [digest]).unwrap(),
    ];
    assert!(matches!(
        load(same),
        Err(CredentialError::SameSecret { .. })
    ));
    assert!(matches!(
        load(vec![CredentialSource::sha256("a:b", [digest]).unwrap()]),
        Err(CredentialError::Id { .. })
    ));
}
