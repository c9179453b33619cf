//! The operator's tool, as it is built.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

const CONFIG: &str = r#"
[source]
allow = ["10.0.0.0/8"]
deny = ["10.9.0.0/16"]

[policy]
file = "policy.toml"
"#;

const POLICY: &str = r#"
[[rules]]
name = "ci"
who = ["token:ci"]
networks = ["10.0.0.0/8"]
actions = ["pull", "create"]
repositories = ["team/*"]
"#;

/// The exit code, standard output and standard error of one call.
fn portcullisctl(arguments: &[&str]) -> (i32, String, String) {
    // A test's own program is in `target/<profile>/deps`.
    let mut file = std::env::current_exe().unwrap();
    file.pop();
    file.pop();
    file.extend(["examples", "portcullisctl"]);
    assert!(file.exists(), "cargo build --example portcullisctl");
    let output = Command::new(file).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn config(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("gate.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::write(folder.join("policy.toml"), POLICY).unwrap();
    file
}

#[test]
fn explain_tells_what_the_gate_would_do_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), CONFIG);
    let explain = |arguments: &[&str]| {
        let config = ["explain", "--config", config.to_str().unwrap()];
        portcullisctl(&[&config, arguments].concat())
    };
    let pull = ["GET", "/v2/team/app/manifests/v1"];
    let ci = ["--as", "token:ci", "--from", "10.1.1.1"];
    let (code, out, _) = explain(&[&ci[..], &pull].concat());
    assert_eq!(code, 0, "{out}");
    assert!(
        out.starts_with("allowed\ntoken:ci to pull team/app:v1: allowed by rule \"ci\" (line 2)\n"),
        "{out}"
    );

    let (code, out, _) = explain(&[&["--as", "token:ci"][..], &pull].concat());
    assert_eq!(code, 1);
    assert!(
        out.contains("allow rule \"ci\" (line 2) is about other networks"),
        "{out}"
    );
    let (code, out, _) = explain(&pull);
    assert_eq!(code, 1);
    assert!(
        out.contains("no rule allows it without credentials"),
        "{out}"
    );

    let push = ["PUT", "/v2/team/app/manifests/v1"];
    let (code, out, _) = explain(&[&ci[..], &["--tag-exists", "false"], &push].concat());
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = explain(&[&ci[..], &["--tag-exists", "true"], &push].concat());
    assert_eq!(code, 1, "{out}");
    let (code, out, _) = explain(&[&ci[..], &["GET", "/v2/a%2Fb/manifests/x"]].concat());
    assert_eq!(code, 1);
    assert!(out.contains("not canonical"), "{out}");

    let (code, _, err) = explain(&[&["--as", "somebody"][..], &pull].concat());
    assert_eq!(code, 2);
    assert!(err.contains("\"somebody\" is nobody"), "{err}");
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "[polcy]\n");
    let config = file.to_str().unwrap();
    let (code, _, err) = portcullisctl(&["explain", "--config", config, "GET", "/v2/"]);
    assert_eq!(code, 2);
    assert!(
        err.contains("gate.toml:1:2: ") && err.contains("unknown field `polcy`"),
        "{err}"
    );
    std::fs::write(&file, "").unwrap();
    let (code, _, err) = portcullisctl(&["explain", "--config", config, "GET", "/v2/"]);
    assert_eq!(code, 2);
    assert!(err.contains("no [policy]"), "{err}");
}

#[test]
fn network_policy_lets_in_the_networks_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), CONFIG);
    let (code, out, err) = portcullisctl(&[
        "network-policy",
        "--config",
        config.to_str().unwrap(),
        "--name",
        "mirror",
        "--pods",
        "app=mirror",
        "--port",
        "5000",
    ]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("cidr: \"10.0.0.0/8\"\n            except:\n              - \"10.9.0.0/16\""),
        "{out}"
    );
    assert!(out.contains("port: 5000"), "{out}");
}

#[test]
fn a_made_token_is_found_by_scanners_and_its_digest_lets_it_in() {
    let (code, out, _) = portcullisctl(&["token", "farm", "--host", "mirror.example.org:5000"]);
    assert_eq!(code, 0);
    let token = out.lines().next().unwrap();
    assert!(token.starts_with("pcls_") && token.len() == 54, "{token}");
    let digest: portcullis::auth::SecretDigest = out
        .lines()
        .find_map(|line| line.strip_prefix("digest = \"")?.strip_suffix('"'))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        digest,
        portcullis::auth::SecretDigest::of_token(token.as_bytes())
    );
    assert!(out.contains("[host.\"https://mirror.example.org:5000\".header]"));
    assert!(out.contains(&format!("Authorization = \"Bearer {token}\"")));
    let config: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let auth = config["auths"]["mirror.example.org:5000"]["auth"].as_str();
    let pair = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, auth.unwrap()).unwrap();
    assert_eq!(pair, format!("farm:{token}").into_bytes());
    assert_eq!(portcullisctl(&["token", "a:b"]).0, 2);
}
