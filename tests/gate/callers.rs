//! What the registry learns of the caller, and what it is shown of credentials.

use std::time::Duration;

use crate::authorization::AuthorizationFile;
use crate::proxy::Upstream;
use crate::support::{
    BY_TOKEN, CI, Gate, Log, MANIFEST, PEER, Registry, assert_problem, in_front, request,
    request_of, within,
};

#[tokio::test]
async fn the_clients_own_authorization_never_reaches_the_registry() {
    // Whatever the configuration says of services.
    let passed_on = BY_TOKEN.replace("[auth]", "[auth]\npass_authorization_on = true");
    for config in [BY_TOKEN, &passed_on] {
        let registry = Registry::start().await;
        let upstream = Upstream::parse(&registry.url(), || panic!("no TLS here")).unwrap();
        let gate = Gate::serve(config, &[], upstream, |_| {}).await;
        let mut client = gate.connect().await;
        client.send(request("GET", MANIFEST, "")).await;
        let head = registry.accept().await.head().await;
        assert_eq!(head.get("authorization"), None);
        assert!(!format!("{head:?}").contains(CI), "{head:?}");
    }
}

#[tokio::test]
async fn the_registry_is_shown_the_value_of_the_file_and_the_new_one_once_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authorization");
    std::fs::write(&file, "Basic b2xkOm9sZA==\n").unwrap();
    let registry = Registry::start().await;
    let watched = AuthorizationFile(file.clone()).watch().unwrap();
    let gate = Gate::with(&registry.url(), |options| {
        options.authorization = Some(watched);
    })
    .await;

    let mut client = gate.connect().await;
    client.send(request("GET", MANIFEST, "")).await;
    let mut wire = registry.accept().await;
    let head = wire.head().await;
    assert_eq!(head.get("authorization"), Some("Basic b2xkOm9sZA=="));
    wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.head().await;

    // What is no such value changes nothing, a new one does.
    std::fs::write(&file, "Digest nonsense").unwrap();
    let next = folder.path().join("next");
    std::fs::write(&next, "Bearer new-one").unwrap();
    std::fs::rename(next, &file).unwrap();
    within(async {
        loop {
            client.send(request("GET", MANIFEST, "")).await;
            let head = wire.head().await;
            wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            client.head().await;
            match head.get("authorization") {
                Some("Bearer new-one") => break,
                shown => assert_eq!(shown, Some("Basic b2xkOm9sZA==")),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[test]
fn what_is_no_authorization_is_an_error_that_does_not_say_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authorization");
    for wrong in ["", "hunter2secret", "Basic hunter2secret\nX: y", "Basic"] {
        std::fs::write(&file, wrong).unwrap();
        let error = AuthorizationFile(file.clone()).watch().unwrap_err();
        let error = error.to_string();
        assert!(error.contains("authorization"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_does_not_know_the_gate_is_a_502_and_an_error_that_names_the_flag() {
    let log = Log::default();
    let _kept = log.keep();
    let (registry, _gate, mut client) = in_front().await;
    let mut wire = registry.asked(&mut client).await;
    wire.send("HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=inner\r\ncontent-length: 0\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_problem(&answer, 502, "UNAVAILABLE");
    assert_eq!(answer.0.get("www-authenticate"), None);
    let log = log.text();
    assert!(
        log.contains("ERROR") && log.contains("--authorization-file"),
        "{log}"
    );
}

#[tokio::test]
async fn only_a_peer_may_say_that_it_passes_a_request_on() {
    for (group, token, seen) in [
        (Some("peers"), PEER, Some("true")),
        (Some("peers"), CI, None),
        (Some("others"), PEER, None),
        (None, PEER, None),
    ] {
        let registry = Registry::start().await;
        let gate = Gate::with(&registry.url(), |options| {
            options.peer_group = group.map(Into::into);
        })
        .await;
        let mut client = gate.connect().await;
        let more = "x-spegel-mirrored: true\r\n";
        client.send(request_of(token, "GET", MANIFEST, more)).await;
        let head = registry.accept().await.head().await;
        assert_eq!(head.get("x-spegel-mirrored"), seen, "{group:?} {token}");
    }
}

/// A registry that refuses the gate refuses each request.
#[tokio::test]
async fn what_fails_each_request_is_logged_once_in_a_while_and_counted() {
    let log = Log::default();
    let _kept = log.keep();
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let registry = Registry::start().await;
    let url = registry.url();
    let gate = Gate::start(&url).await;
    registry.answers(401);
    let mut client = gate.connect().await;
    for _ in 0..5 {
        client.send(request("GET", MANIFEST, "")).await;
        assert_problem(&client.answer().await, 502, "UNAVAILABLE");
    }
    let log = log.text();
    assert_eq!(log.matches("--authorization-file").count(), 1, "{log}");
    let metrics = metrics.render();
    let count =
        format!("gate_upstream_problems_total{{upstream=\"{url}\",reason=\"unauthorized\"}} 5");
    assert!(metrics.contains(&count), "{metrics}");
}
