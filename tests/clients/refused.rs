//! What must fail, for every client alike: the fault, the client's message, the log.

use crate::support::commands::{Pull, curl_push};
use crate::support::gate::{CI_TOKEN, Demands, Gate, READER_TOKEN, Shown, WRONG_TOKEN};
use crate::support::image::Image;
use crate::support::mirror::Entry;
use crate::support::process::Said;

/// A gate that asks for a token and a certificate, with an image in a repository that `reader` may
/// pull and in one that it may not.
pub fn gate(preset: &'static str) -> Gate {
    let gate = Demands {
        preset,
        ..Demands::default()
    };
    let gate = gate.start();
    let image = Image::small();
    for name in ["lib/busybox:1", "secret/busybox:1"] {
        curl_push(&gate, gate.ci(), &image, name);
    }
    gate
}

/// That `pull` gets the image, and with what `shown` makes of the reader's things does not.
pub fn only_without<'a>(
    gate: &'a Gate,
    pull: Pull,
    shown: impl FnOnce(Shown<'a>) -> Shown<'a>,
) -> Said {
    pull(gate, gate.reader(), "lib/busybox:1").succeeded();
    let said = pull(gate, shown(gate.reader()), "lib/busybox:1");
    assert!(!said.status.success(), "it was let in: {said}");
    said
}

/// That the log has a request for such a path, refused for that reason, with who asked.
#[track_caller]
pub fn logged(gate: &Gate, path: &str, reason: &str, status: u64) -> Entry {
    let entry = gate.mirror.logged(&format!("{path} {reason}"), |entry| {
        entry.text("url.path").contains(path) && entry.text("refusal.reason") == reason
    });
    assert_eq!(entry.status(), status, "{entry:?}");
    assert_eq!(entry.text("client.address"), "127.0.0.1", "{entry:?}");
    assert_eq!(entry.text("outcome"), "finished", "{entry:?}");
    assert_eq!(entry.text("tls.client.hash.sha256").len(), 64, "{entry:?}");
    no_secret_is_logged(gate);
    entry
}

/// That the log says why the handshake failed: there is no request to log.
pub fn handshake_failed(gate: &Gate, reason: &str) {
    let reason = format!("\"reason\":\"{reason}\"");
    gate.mirror
        .said(&["TLS handshake failed", &reason, "\"peer\":\"127.0.0.1"]);
    no_secret_is_logged(gate);
}

pub fn no_secret_is_logged(gate: &Gate) {
    for line in gate.mirror.daemon.err().all() {
        for secret in [CI_TOKEN, READER_TOKEN, WRONG_TOKEN] {
            assert!(!line.contains(secret), "a secret is in the log: {line}");
        }
    }
}
