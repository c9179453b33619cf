//! Clients that send a body before they were let in: each gets its answer.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::commands::curl;
use crate::support::gate::{CI_TOKEN, Demands, Gate};
use crate::support::process::{run, tool};
use crate::support::upstream::Upstream;

/// A registry that asks for a token and for no certificate.
fn gate() -> Gate {
    let gate = Demands {
        preset: "registry",
        ..Demands::token()
    };
    gate.start()
}

/// Python with what `scripts/test.sh python-clients` has fetched.
pub fn python(script: &str) -> Command {
    let packages =
        std::env::var_os("PORTCULLIS_PYTHON").map_or_else(|| "target/python".into(), PathBuf::from);
    assert!(
        packages.join("oras").is_dir(),
        "{} is missing: `scripts/test.sh python-clients` fetches it",
        packages.display()
    );
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python");
    let mut python = Command::new(tool("python3", "python3"));
    python.env("PYTHONPATH", packages.canonicalize().unwrap());
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python.arg(scripts.join(script));
    python
}

#[test]
fn pythons_requests_gets_every_answer_to_an_upload_without_credentials() {
    let gate = gate();
    let mut put = python("put.py");
    put.arg(format!("{}/v2/lib/a/blobs/uploads/1", gate.mirror.url()));
    put.arg(&gate.keys.ca).arg("100");
    put.args(["0", "1000", "60000", "100000", "200000", "262144"]);
    let said = run(&mut put).succeeded();
    assert_eq!(said.out, "lost 0\n", "{said}");
}

#[test]
fn pypis_oras_pushes_before_it_is_asked_for_its_token_and_loses_nothing() {
    let gate = gate();
    let mut push = python("push.py");
    push.arg(gate.mirror.host()).arg(&gate.keys.ca);
    push.args(["ci", CI_TOKEN, "100", "1000", "60000", "100000", "200000"]);
    let said = run(&mut push).succeeded();
    assert_eq!(said.out, "lost 0\n", "{said}");
}

/// Through the gate example, the registry behind which is another's.
#[test]
fn pypis_oras_pushes_through_the_gate_and_loses_nothing() {
    let registry = Upstream::start();
    let gate = Demands {
        preset: "registry",
        in_front_of: Some(registry.url()),
        ..Demands::token()
    };
    let gate = gate.start();
    let mut push = python("push.py");
    push.arg(gate.mirror.host()).arg(&gate.keys.ca);
    push.args(["ci", CI_TOKEN, "20", "1000", "60000", "200000"]);
    let said = run(&mut push).succeeded();
    assert_eq!(said.out, "lost 0\n", "{said}");
    let said = [registry.daemon.out().all(), registry.daemon.err().all()].concat();
    let is_push = |line: &String| line.contains("\"PUT /v2/lib/pushed/manifests/");
    assert!(said.iter().any(is_push));
}

#[test]
fn curl_gets_every_answer_over_http_2_and_http_1() {
    let gate = gate();
    let shown = gate.ci().without_pair().without_token();
    let file = gate.mirror.folder().join("upload");
    for size in [100_000, 262_144, 1_000_000, 6_000_000] {
        std::fs::write(&file, vec![7; size]).unwrap();
        for protocol in ["--http2", "--http1.1"] {
            for number in 0..25 {
                let mut curl = curl(&gate, shown, "/v2/lib/a/blobs/uploads/1");
                // Else it asks first.
                curl.args([protocol, "--header", "Expect:", "--output", "/dev/null"]);
                curl.args(["--write-out", "%{http_code}", "--upload-file"]);
                let said = run(curl.arg(&file)).succeeded();
                assert_eq!(said.out, "401", "{protocol} {size} {number}: {said}");
            }
        }
    }
}

/// The registry's own refusals, with a right token.
#[test]
fn an_upload_that_the_registry_itself_refuses_gets_its_answer() {
    let gate = gate();
    let file = gate.mirror.folder().join("upload");
    std::fs::write(&file, vec![7; 200_000]).unwrap();
    let session = format!("/v2/lib/a/blobs/uploads/{}", "0".repeat(32));
    let unknown = format!("{session}?digest=sha256:{}", "0".repeat(64));
    // Without a digest, and of no such session.
    for (path, status) in [(&session, "400"), (&unknown, "404")] {
        for protocol in ["--http2", "--http1.1"] {
            for number in 0..25 {
                let mut curl = curl(&gate, gate.ci().without_pair(), path);
                curl.args([protocol, "--request", "PUT", "--header", "Expect:"]);
                curl.args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
                let said = run(curl.arg("--upload-file").arg(&file)).succeeded();
                assert_eq!(said.out, status, "{protocol} {path} {number}: {said}");
            }
        }
    }
}
