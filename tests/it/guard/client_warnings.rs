//! `Warning` headers: which callers get one of what is about to fail them, and which get none.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::fs;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, WARNING};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::auth::{Authentication, Credential, Credentials, Secret, TokenAuthLayer};
use portcullis::client_warning::ClientWarningLayer;
use portcullis::config::Config;
use portcullis::identity::Method;
use portcullis::policy::{Actions, Pattern, Policy, PolicyLayer, Rule, Who};
use portcullis::{ClientAddr, Connection, Guard, PeerIdentity, Principal, Watched};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::pki::Ca;

const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";
const OTHER: &str = "bK7wQ2xRt9LmZ4vB8nPyD3sHf6Jh";

const CONFIG: &str = r#"
[auth]
require = "token"
anonymous = true
warn_before = "30days"

[[auth.token]]
id = "ci"
groups = ["builders"]
file = "ci.token"
expires = EXPIRES

[[auth.token]]
id = "other"
file = "other.token"

[policy]
shadow = "stricter.toml"

[[policy.rules]]
name = "old names"
who = ["anyone"]
actions = ["pull"]
repositories = ["old/**"]
deprecated = "pull \"new/…\" instead\u0007"

[[policy.rules]]
name = "everything"
who = ["anyone"]
actions = ["any"]
repositories = ["**"]

[[limits.limit]]
name = "own"
key = "principal"
quota = { bytes = 1000, window = "month" }

[[limits.limit]]
name = "all"
key = "total"
quota = { bytes = 1900, window = "month" }
"#;

const STRICTER: &str = r#"
[[rules]]
name = "a rule that no caller is to know of"
who = ["anyone"]
actions = ["any"]
repositories = ["old/**", "fine/**"]
"#;

/// A guard of [`CONFIG`] with more lines, whose token `ci` expires in so many hours.
fn guard(hours: u64, more: &str) -> Guard {
    guard_of(&format!("{more}{CONFIG}"), hours)
}

fn guard_of(config: &str, hours: u64) -> Guard {
    let folder = tempfile::tempdir().unwrap();
    let end = SystemTime::now() + Duration::from_secs(hours * 3_600 + 60);
    let end = humantime::format_rfc3339_seconds(end).to_string();
    for (name, text) in [
        ("ci.token", TOKEN),
        ("other.token", OTHER),
        ("stricter.toml", STRICTER),
        ("gate.toml", &config.replace("EXPIRES", &end)),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    Guard::from_config(&Config::load(folder.path().join("gate.toml")).unwrap()).unwrap()
}

fn connection() -> Connection {
    Connection::builder("192.0.2.1:4711".parse().unwrap()).build()
}

fn warnings(head: &http::HeaderMap) -> Vec<String> {
    let values = head.get_all(WARNING).iter();
    values
        .map(|value| {
            let text = str::from_utf8(value.as_bytes()).unwrap();
            let text = text.strip_prefix("299 - \"").unwrap();
            text.strip_suffix('"').unwrap().to_owned()
        })
        .collect()
}

/// The status and the warnings of one answer, whose body of so many bytes is read.
async fn ask(
    guard: &Guard,
    connection: &Connection,
    token: Option<&str>,
    target: &str,
    bytes: usize,
) -> (u16, Vec<String>) {
    let service = guard.layer(service_fn(move |_| async move {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![0; bytes]))))
    }));
    let mut request = Request::get(target)
        .header("host", "registry.example")
        .extension(connection.clone())
        .body(Full::<Bytes>::default())
        .unwrap();
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    body.collect().await.unwrap();
    (head.status.as_u16(), warnings(&head.headers))
}

const FINE: &str = "/v2/fine/app/manifests/1";
const OLD: &str = "/v2/old/app/manifests/1";
const SHADOWED: &str = "/v2/team/app/manifests/1";

#[tokio::test]
async fn a_caller_is_warned_of_what_ends_or_is_refused_soon_once_a_connection() {
    let guard = guard(3 * 24, "");
    let (first, second) = (connection(), connection());
    let credential = "your credential expires in 3 days";
    let deprecated = "the repository old/app is deprecated: pull \\\"new/…\\\" instead ";
    let shadow = "a stricter policy is being tried out here, which would refuse this request";
    for (connection, target, expected) in [
        (&first, FINE, &[credential][..]),
        (&first, FINE, &[]),
        (&first, OLD, &[deprecated]),
        (&first, OLD, &[]),
        (&first, SHADOWED, &[shadow]),
        (&first, "/v2/team/other/manifests/1", &[]),
        (&first, "/v2/old/other/tags/list", &[]),
        (&second, OLD, &[credential, deprecated]),
    ] {
        let answer = ask(&guard, connection, Some(TOKEN), target, 0).await;
        let expected = expected.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(answer, (200, expected), "{target}");
    }
    // Another caller of the same connection, as behind a proxy, gets its own.
    let (_, told) = ask(&guard, &first, Some(OTHER), OLD, 0).await;
    assert_eq!(told, [deprecated]);
}

#[tokio::test]
async fn no_caller_that_is_not_authenticated_or_allowed_is_told_anything() {
    let guard = guard(3, "");
    let connection = connection();
    for target in [OLD, SHADOWED, FINE] {
        let (status, told) = ask(&guard, &connection, None, target, 0).await;
        assert_eq!((status, told.len()), (200, 0), "{target}: {told:?}");
        let (status, told) = ask(&guard, &connection, Some("wrong"), target, 0).await;
        assert_eq!((status, told.len()), (401, 0), "{target}: {told:?}");
    }
    let (_, told) = ask(&guard, &connection, Some(TOKEN), FINE, 0).await;
    assert_eq!(told, ["your credential expires in 3 hours"]);
}

#[tokio::test]
async fn a_quota_of_the_callers_own_is_warned_of_from_nine_tenths_on() {
    let guard = guard(24 * 365, "");
    let near = ["nine tenths of a byte quota of yours or of your group are used"];
    let fresh = || connection();
    for (bytes, expected) in [(899, 0), (1, 0), (0, 1)] {
        let (status, told) = ask(&guard, &fresh(), Some(TOKEN), FINE, bytes).await;
        assert_eq!((status, told.len()), (200, expected), "{bytes}: {told:?}");
    }
    let (_, told) = ask(&guard, &fresh(), Some(TOKEN), FINE, 0).await;
    assert_eq!(told, near);
    // What all use together is no caller's to know: 1,750 of 1,900.
    let (_, told) = ask(&guard, &fresh(), Some(OTHER), FINE, 850).await;
    assert_eq!(told.len(), 0, "{told:?}");
    let (_, told) = ask(&guard, &fresh(), Some(OTHER), FINE, 0).await;
    assert_eq!(told.len(), 0, "{told:?}");
}

#[tokio::test]
async fn warnings_are_turned_off_and_their_times_are_set_by_the_configuration() {
    let soon = |config: &'static str| async move {
        let guard = guard(3 * 24, config);
        ask(&guard, &connection(), Some(TOKEN), OLD, 0)
            .await
            .1
            .len()
    };
    assert_eq!(soon("").await, 2);
    assert_eq!(soon("[client_warnings]\nenabled = false\n").await, 0);
    assert_eq!(
        soon("[client_warnings]\ncertificate_before = \"1h\"\n").await,
        2
    );
    let wrong = Config::from_toml("[client_warnings]\ncertificate_before = \"99years\"\n", "/");
    let error = wrong.unwrap_err().to_string();
    assert!(
        error.contains("client_warnings.certificate_before"),
        "{error}"
    );
    // Without `auth.warn_before` two weeks.
    let without = CONFIG.replace("warn_before = \"30days\"\n", "");
    for (config, days, expected) in [
        (CONFIG, 29, 2),
        (CONFIG, 31, 1),
        (&*without, 13, 2),
        (&*without, 15, 1),
    ] {
        let guard = guard_of(config, days * 24);
        let (_, told) = ask(&guard, &connection(), Some(TOKEN), OLD, 0).await;
        assert_eq!(told.len(), expected, "{days}: {told:?}");
    }
}

/// The warnings of one answer to this caller, by plain layers.
async fn plain(
    layer: &ClientWarningLayer,
    principal: Option<Principal>,
    connection: Option<&Connection>,
    before: &[&str],
) -> Vec<String> {
    let before: Vec<_> = before.iter().map(|text| (*text).to_owned()).collect();
    let service = layer.layer(service_fn(move |_| {
        let mut response = Response::new(Full::<Bytes>::default());
        for text in &before {
            let value = HeaderValue::try_from(format!("299 - \"{text}\"")).unwrap();
            response.headers_mut().append(WARNING, value);
        }
        async { Ok::<_, Infallible>(response) }
    }));
    let mut request = Request::get(FINE).body(Full::<Bytes>::default()).unwrap();
    request.extensions_mut().extend(
        principal
            .map(|one| {
                let mut extensions = http::Extensions::new();
                extensions.insert(one);
                extensions
            })
            .unwrap_or_default(),
    );
    if let Some(connection) = connection {
        request.extensions_mut().insert(connection.clone());
    }
    warnings(service.oneshot(request).await.unwrap().headers())
}

#[tokio::test]
async fn a_certificate_is_warned_of_in_the_last_tenth_of_its_validity() {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    let lasting = |days: i64| {
        let leaf = Ca::new("Nodes").client_with("node", |params| {
            params.not_before = time::OffsetDateTime::now_utc();
            params.not_after = params.not_before + time::Duration::days(days);
        });
        PeerIdentity::from_der(&leaf.der).unwrap()
    };
    for (whole, passed, expected) in [
        (100, 92, None),
        (100, 94, Some("your client certificate expires in 5 days")),
        // Within seven days, and renewed by its tenth of a day.
        (1, 0, None),
        (30, 26, None),
        (30, 28, Some("your client certificate expires in 47 hours")),
    ] {
        let layer = ClientWarningLayer::new()
            .with_clock(move || now + day * passed + Duration::from_secs(60));
        let peer = lasting(whole);
        let by_it = Principal::from_peer(peer.clone());
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(
            plain(&layer, Some(by_it), None, &[]).await,
            expected,
            "{whole}"
        );
        // With a token on a connection with it.
        let token = Principal::new(Method::Token, "ci").on_peer(peer.clone());
        assert_eq!(plain(&layer, Some(token), None, &[]).await, expected);
        let connection = Connection::builder("192.0.2.1:1".parse().unwrap());
        let connection = connection.identity(peer).build();
        let token = Principal::new(Method::Token, "ci");
        let told = plain(&layer, Some(token), Some(&connection), &[]).await;
        assert_eq!(told, expected);
        assert!(
            plain(&layer, Some(Principal::anonymous()), Some(&connection), &[])
                .await
                .is_empty()
        );
        assert!(plain(&layer, None, Some(&connection), &[]).await.is_empty());
    }
}

#[tokio::test]
async fn warnings_of_the_service_stay_and_count_for_the_bytes_that_an_answer_may_have() {
    let soon = Principal::new(Method::Token, "ci").ending(SystemTime::now());
    let layer = ClientWarningLayer::new();
    let connection = connection();
    let long = "x".repeat(2_030);
    let there = [&*long, &long];
    let told = plain(&layer, Some(soon.clone()), Some(&connection), &there).await;
    assert_eq!(told, there);
    // What had no place is sent when it has one.
    let told = plain(&layer, Some(soon), Some(&connection), &["of the service"]).await;
    assert_eq!(
        told,
        ["of the service", "your credential expires in 0 minutes"]
    );
}

#[tokio::test]
async fn plain_layers_warn_as_a_guard_does() {
    let end = SystemTime::now() + Duration::from_secs(90 * 60 + 30);
    let token = Secret::of_token(TOKEN.as_bytes()).expires(end);
    let ci = Credentials::new([Credential::new("ci").with_secret(token)]).unwrap();
    let old = Rule::allow("old", Who::Anyone, Actions::PULL)
        .on_repositories([Pattern::repository("**").unwrap()])
        .with_deprecation("move on");
    assert_eq!(old.deprecation(), Some("move on"));
    let service = ServiceBuilder::new()
        .layer(TokenAuthLayer::new(Authentication::token(Watched::fixed(
            ci,
        ))))
        .layer(PolicyLayer::new(Policy::new([old]).unwrap()))
        .layer(ClientWarningLayer::new())
        .service_fn(|_: Request<Full<Bytes>>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        });
    let request = Request::get(FINE)
        .header("host", "registry.example")
        .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
        .extension(ClientAddr::new("192.0.2.1:1".parse().unwrap()))
        .body(Full::default())
        .unwrap();
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let expected = [
        "your credential expires in 90 minutes",
        "the repository fine/app is deprecated: move on",
    ];
    assert_eq!(warnings(answer.headers()), expected);
}

#[test]
fn a_rule_that_lets_no_repository_through_deprecates_nothing() {
    let everything = || [Pattern::repository("**").unwrap()];
    let denied = Rule::deny("old", Who::Anyone, Actions::PULL).on_repositories(everything());
    let probe = Rule::allow("old", Who::Anyone, Actions::PROBE);
    let empty = Rule::allow("old", Who::Anyone, Actions::PULL).on_repositories(everything());
    for (rule, expected) in [
        (denied.with_deprecation("no"), "`deprecated` has no meaning"),
        (probe.with_deprecation("no"), "`deprecated` has no meaning"),
        (empty.with_deprecation(" "), "`deprecated` is empty"),
    ] {
        let error = Policy::new([rule]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
