//! Without arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use crate::support::{Mirror, Shown, replace, run, until};

const FILES: [&str; 9] = [
    "ca.crt",
    "server.crt",
    "server.key",
    "client.crt",
    "client.key",
    "revoked.crt",
    "revoked.key",
    "crl.pem",
    "token",
];

#[tokio::test]
async fn the_demo_keys_are_made_once_and_the_secret_ones_are_the_owners_alone() {
    let data = TempDir::new().unwrap();
    let mut mirror = Mirror::start(&data).await;
    let read = |mirror: &Mirror| FILES.map(|name| fs::read(mirror.demo(name)).unwrap());
    let first = read(&mirror);
    for name in FILES {
        let mode = fs::metadata(mirror.demo(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        let secret = name.contains(".key") || name == "token";
        assert_eq!(mode, if secret { 0o600 } else { 0o644 }, "{name}");
    }
    mirror.signal("-TERM");
    assert!(mirror.ended().await.success());
    let mirror = Mirror::start(&data).await;
    assert_eq!(read(&mirror), first);
}

#[tokio::test]
async fn half_a_set_of_demo_keys_is_an_error_and_not_replaced() {
    let data = TempDir::new().unwrap();
    let mut mirror = Mirror::start(&data).await;
    mirror.signal("-TERM");
    mirror.ended().await;
    fs::remove_file(mirror.demo("crl.pem")).unwrap();
    let output = run(mirror.data(), &["--listen", "127.0.0.1:0"]).await;
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("demo/crl.pem"), "{said}");
    assert!(output.stdout.is_empty());
    assert!(!mirror.demo("crl.pem").exists());
}

#[tokio::test]
async fn it_says_how_to_pull_and_keeps_the_token_to_itself() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let said = until("the whole text", || {
        let said = mirror.said().join("\n");
        said.contains("ctr images pull").then_some(said)
    })
    .await;
    for part in [
        "curl --cacert",
        "skopeo copy",
        "hosts.toml",
        &mirror.address,
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains(&mirror.token()));
}

#[tokio::test]
async fn the_token_or_the_certificate_or_both_let_in_and_nothing_else_does() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let token = mirror.token();
    let shown = |token, certificate| Shown { token, certificate };
    for (shown, status) in [
        (shown(Some(&*token), None), 200),
        (shown(None, Some("client")), 200),
        (shown(Some(&*token), Some("client")), 200),
        (shown(None, None), 401),
        (shown(Some("wrong"), None), 401),
        // A wrong token is no better for a good certificate.
        (shown(Some("wrong"), Some("client")), 401),
    ] {
        let client = mirror.client(shown);
        for path in ["/v2/", "/v2/_catalog"] {
            let response = client.get(mirror.url(path)).send().await.unwrap();
            assert_eq!(
                response.status(),
                status,
                "{:?} {:?}",
                shown.token,
                shown.certificate
            );
        }
    }
    // By user and password, too.
    let request = mirror.client(Shown::default()).get(mirror.url("/v2/"));
    let response = request
        .basic_auth("demo", Some(&token))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn the_revoked_certificate_does_not_get_past_the_handshake() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let token = mirror.token();
    for token in [None, Some(&*token)] {
        let certificate = Some("revoked");
        let client = mirror.client(Shown { token, certificate });
        assert!(client.get(mirror.url("/v2/")).send().await.is_err());
    }
}

#[tokio::test]
async fn a_new_token_takes_hold_without_a_restart() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let old = mirror.by_token();
    assert_eq!(
        old.get(mirror.url("/v2/")).send().await.unwrap().status(),
        200
    );
    let text = "a-new-token-9b1f0c7de42a68350d7fe19c4ba82653\n";
    replace(&mirror.demo("token"), text.as_bytes());
    let new = mirror.by_token();
    loop {
        let response = new.get(mirror.url("/v2/")).send().await.unwrap();
        if response.status() == 200 {
            break;
        }
        assert_eq!(response.status(), 401);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(
        old.get(mirror.url("/v2/")).send().await.unwrap().status(),
        401
    );
}

#[tokio::test]
async fn a_new_crl_takes_hold_without_a_restart() {
    let (data, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mirror = Mirror::start(&data).await;
    // All the keys of another mirror: its CA has issued other certificates.
    let next = Mirror::start(&other).await;
    let client = next.by_certificate();
    assert!(client.get(mirror.url("/v2/")).send().await.is_err());
    for name in FILES {
        replace(&mirror.demo(name), &fs::read(next.demo(name)).unwrap());
    }
    loop {
        // A new connection each time.
        let client = mirror.by_certificate();
        if let Ok(response) = client.get(mirror.url("/v2/")).send().await
            && response.status() == 200
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let revoked = mirror.client(Shown {
        certificate: Some("revoked"),
        ..Shown::default()
    });
    assert!(revoked.get(mirror.url("/v2/")).send().await.is_err());
}
