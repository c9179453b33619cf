//! The classes of byte rates that a policy's rules name, from the configuration file on.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use portcullis::config::{Config, ConfigError};
use portcullis::policy::RateClass;
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
use portcullis::{ClientAddr, Guard};
use tempfile::TempDir;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

use crate::guard::readiness;
use crate::waiting::until;

const RULES: &str = r#"
[[policy.rules]]
name = "bulk"
who = ["anyone"]
actions = ["pull"]
repositories = ["bulk/**"]
rate_class = "slow"

[[policy.rules]]
name = "others"
who = ["anyone"]
actions = ["pull"]
repositories = ["lib/**"]
"#;

const LIMITS: &str = r#"
[[limits.limit]]
name = "bulk"
key = "total"
class = "slow"
rate = 10000
burst = 1000
"#;

fn load(folder: &Path, text: &str) -> Result<Guard, ConfigError> {
    let file = folder.join("gate.toml");
    let head = "[reload]\npoll_interval = \"50ms\"\nsettle = \"5ms\"\n";
    fs::write(&file, format!("{head}{text}")).unwrap();
    Guard::from_config(&Config::load(&file)?)
}

/// How long a pull of 5,000 bytes takes; `None` if it is refused.
async fn pull(guard: &Guard, repository: &str) -> Option<Duration> {
    let service = guard.layer(service_fn(|_| async {
        let layer = Bytes::from(vec![7; 5000]);
        Ok::<_, Infallible>(Response::new(Full::new(layer)))
    }));
    let target = format!("/v2/{repository}/manifests/1");
    let mut request = Request::get(target)
        .header("host", "registry.example")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let client = ClientAddr::new("10.0.0.1:1".parse().unwrap());
    request.extensions_mut().insert(client);
    let begin = Instant::now();
    let response = service.oneshot(request).await.unwrap();
    if response.status() == 503 {
        return None;
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), 5000);
    Some(begin.elapsed())
}

#[tokio::test]
async fn the_limit_of_a_rules_class_holds_for_what_the_rule_allows_and_for_nothing_else() {
    let folder = TempDir::new().unwrap();
    let guard = load(folder.path(), &format!("{RULES}{LIMITS}")).unwrap();
    assert!(pull(&guard, "bulk/a").await.unwrap() >= Duration::from_millis(390));
    // The burst is spent: the limit would be felt at once.
    assert!(pull(&guard, "lib/a").await.unwrap() < Duration::from_millis(390));
    assert!(pull(&guard, "bulk/a").await.unwrap() >= Duration::from_millis(390));
}

#[test]
fn a_class_that_no_limit_is_for_is_an_error_at_load() {
    let folder = TempDir::new().unwrap();
    let other = LIMITS.replace("slow", "fast");
    for text in [RULES.to_owned(), format!("{RULES}{other}")] {
        let error = load(folder.path(), &text).unwrap_err();
        let says = error.to_string();
        assert!(
            says.contains("rule \"bulk\"") && says.contains("\"slow\""),
            "{says}"
        );
    }
    let rules = RULES.replace("policy.rules", "rules");
    fs::write(folder.path().join("policy.toml"), rules).unwrap();
    let file = "[policy]\nfile = \"policy.toml\"\n";
    assert!(matches!(
        load(folder.path(), file),
        Err(ConfigError::RateClass { .. })
    ));
    load(folder.path(), &format!("{file}{LIMITS}")).unwrap();
}

#[tokio::test]
async fn a_reload_that_would_leave_a_class_without_a_limit_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let file = "[policy]\nfile = \"policy.toml\"\n";
    let rules = RULES.replace("policy.rules", "rules");
    fs::write(folder.path().join("policy.toml"), &rules).unwrap();
    let guard = load(folder.path(), &format!("{file}{LIMITS}")).unwrap();
    assert!(pull(&guard, "bulk/a").await.unwrap() >= Duration::from_millis(390));

    let gate = folder.path().join("gate.toml");
    let renamed = fs::read_to_string(&gate).unwrap().replace("slow", "fast");
    fs::write(&gate, renamed).unwrap();
    fs::write(
        folder.path().join("policy.toml"),
        rules.replace("slow", "slower"),
    )
    .unwrap();
    until("refused", || {
        let ready = readiness(&guard);
        let failed = |part| ready.contains(&format!("[~] {part}: the last reload failed"));
        failed("limits") && failed("policy")
    });
    assert!(pull(&guard, "bulk/a").await.unwrap() >= Duration::from_millis(390));

    // Once both say the same again, both follow.
    fs::write(
        folder.path().join("policy.toml"),
        rules.replace("slow", "fast"),
    )
    .unwrap();
    fs::write(
        &gate,
        fs::read_to_string(&gate)
            .unwrap()
            .replace("10000", "200000"),
    )
    .unwrap();
    for _ in 0..100 {
        // Refused as long as only one of them has followed.
        let time = pull(&guard, "bulk/a").await;
        if time.is_some_and(|time| time < Duration::from_millis(300)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the limits never followed");
}

#[tokio::test]
async fn a_request_of_a_class_that_no_limit_is_for_is_refused() {
    let limit = Limit::rate("bulk", Key::Total, 1000).with_class(RateClass::new("slow"));
    let slow = ByteRateLayer::new(Limits::new([limit]).unwrap());
    let none = ByteRateLayer::new(Limits::none());
    for (layer, class, status) in [
        (&slow, Some("slow"), StatusCode::OK),
        (&slow, Some("slwo"), StatusCode::SERVICE_UNAVAILABLE),
        (&none, Some("slow"), StatusCode::SERVICE_UNAVAILABLE),
        (&none, None, StatusCode::OK),
    ] {
        let service = layer.layer(service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes"))))
        }));
        let mut request = Request::new(Full::new(Bytes::from("a body")));
        if let Some(class) = class {
            request.extensions_mut().insert(RateClass::new(class));
        }
        let answer = service.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{class:?}");
    }
}
