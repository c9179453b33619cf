//! What changes and ends while the mirror runs.

use std::fs;
use std::process::{Command, Stdio};

use crate::refused::no_secret_is_logged;
use crate::support::commands::{curl, curl_pull, curl_push, fresh};
use crate::support::gate::{Demands, Gate, Place, Shown};
use crate::support::image::{Image, sha256};
use crate::support::pki::{Pki, replace};
use crate::support::process::{run, tool};
use crate::support::secret;
use crate::support::wait::until;

/// The status of `GET /v2/`; nothing where the handshake fails.
pub fn ping(gate: &Gate, shown: Shown<'_>) -> Option<u16> {
    let mut curl = curl(gate, shown, "/v2/");
    let said = run(curl.args(["--output", "/dev/null", "--write-out", "%{http_code}"]));
    said.status.success().then(|| said.out.parse().unwrap())
}

pub fn wait_for(gate: &Gate, shown: Shown<'_>, status: Option<u16>) {
    until(&format!("the answer {status:?}"), || {
        (ping(gate, shown) == status).then_some(())
    });
}

#[test]
fn a_new_token_takes_hold_and_the_old_one_is_refused() {
    let mut gate = Demands::default().start();
    let shown = gate.reader();
    assert_eq!(ping(&gate, shown), Some(200));
    let new = "the-readers-next-9b1f0c7de42a68350d7fe19c4ba82653";
    replace(&gate.keys.folder.join("reader.token"), new.as_bytes());
    wait_for(&gate, gate.reader().with_token("reader", new), Some(200));
    assert_eq!(ping(&gate, gate.reader()), Some(401));
    assert_eq!(ping(&gate, gate.ci()), Some(200));
    no_secret_is_logged(&gate);
    assert!(gate.mirror.daemon.is_running());
}

#[test]
fn a_token_in_a_kubernetes_secret_is_replaced_by_the_swap_of_its_folder() {
    let gate = Demands {
        place: Place::Secret,
        ..Demands::default()
    };
    let gate = gate.start();
    assert_eq!(ping(&gate, gate.reader()), Some(200));
    let new = "the-readers-next-9b1f0c7de42a68350d7fe19c4ba82653";
    secret::update(&gate.keys.folder, "reader.token", new.as_bytes());
    wait_for(&gate, gate.reader().with_token("reader", new), Some(200));
    assert_eq!(ping(&gate, gate.reader()), Some(401));
    assert_eq!(ping(&gate, gate.ci()), Some(200));
}

#[test]
fn an_empty_token_file_changes_nothing() {
    let gate = Demands::default().start();
    replace(&gate.keys.folder.join("reader.token"), b"");
    gate.mirror.said(&["reader.token"]);
    assert_eq!(ping(&gate, gate.reader()), Some(200));
    let nothing = gate.reader().with_token("reader", "");
    assert_eq!(ping(&gate, nothing), Some(401));
}

#[test]
fn a_certificate_that_a_new_crl_revokes_is_refused() {
    let gate = Demands::default().start();
    assert_eq!(ping(&gate, gate.reader()), Some(200));
    gate.keys
        .pki
        .revoke(&[&gate.keys.revoked, &gate.keys.reader]);
    wait_for(&gate, gate.reader(), None);
    assert_eq!(ping(&gate, gate.ci()), Some(200));
}

#[test]
fn a_new_server_certificate_is_shown_to_the_next_client() {
    shows_its_next_certificate(&Demands::default().start());
}

pub fn shows_its_next_certificate(gate: &Gate) {
    let next = Pki::new(&gate.mirror.folder().join("next"), "the next CA");
    let pair = next.server();
    replace(&gate.keys.server.key, &fs::read(&pair.key).unwrap());
    let certificate = fs::read(&pair.certificate).unwrap();
    replace(&gate.keys.server.certificate, &certificate);
    let is_next = || {
        let mut openssl = Command::new(tool("openssl", "openssl"));
        openssl
            .args(["s_client", "-connect", &gate.mirror.host(), "-CAfile"])
            .arg(next.ca());
        run(&mut openssl).out.contains("CN = the next CA")
    };
    until("the new certificate", || is_next().then_some(()));
}

#[test]
fn a_rule_that_is_taken_from_the_policy_allows_nothing_more() {
    let gate = Demands::default().start();
    let image = Image::small();
    curl_push(&gate, gate.ci(), &image, "lib/busybox:1");
    curl_pull(&gate, gate.reader(), "lib/busybox:1").succeeded();
    let file = gate.keys.folder.join("gate.toml");
    let text = fs::read_to_string(&file).unwrap();
    let (rules, _) = text
        .split_once("[[policy.rules]]\nname = \"the library\"")
        .unwrap();
    replace(&file, rules.as_bytes());
    until("the new policy", || {
        let said = curl_pull(&gate, gate.reader(), "lib/busybox:1");
        said.err.contains("error: 403").then_some(())
    });
    curl_pull(&gate, gate.ci(), "lib/busybox:1").succeeded();
}

#[test]
fn a_transfer_of_a_certificate_that_is_revoked_meanwhile_is_cut() {
    let gate = Demands::default().start();
    let image = Image::build(64 << 20);
    curl_push(&gate, gate.ci(), &image, "lib/busybox:1");
    let path = format!("/v2/lib/busybox/blobs/{}", image.layout().layers()[1]);
    let out = fresh(&gate, "blob");
    let mut slow = curl(&gate, gate.reader(), &path);
    slow.args(["--limit-rate", "1M", "--output"]).arg(&out);
    let mut slow = slow.stdin(Stdio::null()).spawn().unwrap();
    until("the first bytes", || {
        fs::metadata(&out)
            .is_ok_and(|file| file.len() > 0)
            .then_some(())
    });
    gate.keys
        .pki
        .revoke(&[&gate.keys.revoked, &gate.keys.reader]);
    let entry = gate
        .mirror
        .logged("the cut", |entry| entry.text("url.path") == path);
    assert_eq!(entry.text("outcome"), "cut_revoked", "{entry:?}");
    let size = image.layout().blob(&image.layout().layers()[1]).len() as u64;
    assert!(entry.number("http.response.body.size") < size, "{entry:?}");
    assert!(!slow.wait().unwrap().success());
}

/// A pull that takes some seconds, at the pace of its reader.
#[test]
fn sigterm_lets_a_transfer_in_flight_finish() {
    let mut gate = Demands::default().start();
    let image = Image::build(32 << 20);
    curl_push(&gate, gate.ci(), &image, "lib/busybox:1");
    let digest = image.layout().layers()[1].clone();
    let out = fresh(&gate, "blob");
    let path = format!("/v2/lib/busybox/blobs/{digest}");
    let mut slow = curl(&gate, gate.reader(), &path);
    slow.args(["--limit-rate", "8M", "--output"]).arg(&out);
    let mut slow = slow.stdin(Stdio::null()).spawn().unwrap();
    until("the first bytes", || {
        fs::metadata(&out)
            .is_ok_and(|file| file.len() > 0)
            .then_some(())
    });

    gate.mirror.daemon.terminate();
    wait_for(&gate, gate.reader(), None);
    assert!(
        slow.try_wait().unwrap().is_none(),
        "it was too fast to be seen draining"
    );
    assert!(slow.wait().unwrap().success());
    assert_eq!(sha256(&fs::read(&out).unwrap()), digest);
    assert!(gate.mirror.daemon.ended().success());
    let entry = gate
        .mirror
        .logged("the pull", |entry| entry.text("url.path") == path);
    assert_eq!(entry.text("outcome"), "finished", "{entry:?}");
}
