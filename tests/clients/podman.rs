use crate::refused::{gate, handshake_failed, logged, only_without};
use crate::support::commands::{curl_push, podman_pull};
use crate::support::gate::{Demands, WRONG_TOKEN};
use crate::support::image::Image;

#[test]
fn an_image_comes_by_certificate() {
    let gate = Demands::certificate().start();
    let image = Image::small();
    curl_push(&gate, gate.ci().without_token(), &image, "lib/busybox:1");
    let said = podman_pull(&gate, gate.reader().without_token(), "lib/busybox:1").succeeded();
    // It prints the id of what it has stored, which is the digest of the configuration.
    let config = image.layout().config();
    assert_eq!(Some(said.out.trim()), config.strip_prefix("sha256:"));
}

#[test]
fn an_image_comes_by_basic_challenge() {
    let gate = gate("registry");
    podman_pull(&gate, gate.reader(), "lib/busybox:1").succeeded();
}

#[test]
fn with_a_wrong_token_nothing_comes() {
    let gate = gate("registry");
    let said = only_without(&gate, podman_pull, |shown| {
        shown.with_token("ci", WRONG_TOKEN)
    });
    said.failed_saying(&["unauthorized"]);
    logged(&gate, "/manifests/1", "credentials_unknown", 401);
}

#[test]
fn with_a_revoked_certificate_nothing_comes() {
    let gate = gate("registry");
    let revoked = &gate.keys.revoked;
    let said = only_without(&gate, podman_pull, |shown| shown.with_pair(revoked));
    said.failed_saying(&["revoked certificate"]);
    handshake_failed(&gate, "certificate_revoked");
}

#[test]
fn a_repository_that_is_not_allowed_is_denied() {
    let gate = gate("registry");
    let said = podman_pull(&gate, gate.reader(), "secret/busybox:1");
    said.failed_saying(&["denied"]);
    logged(&gate, "/manifests/1", "policy_denied", 403);
}
