use crate::refused::{gate, handshake_failed, logged, only_without};
use crate::support::commands::{skopeo_inspect, skopeo_pull, skopeo_pulled, skopeo_push};
use crate::support::gate::{Demands, Shown, WRONG_TOKEN};
use crate::support::image::{Image, read_json};

/// In, looked at, and out again.
///
/// In the `registry` preset: skopeo sends neither user and password nor `--registry-token` to who has
/// no challenge.
fn an_image_goes_in_and_comes_out(demands: Demands) {
    let gate = Demands {
        preset: "registry",
        ..demands
    };
    let gate = gate.start();
    let mut shown = gate.ci();
    if !gate.demands.tokens {
        shown = shown.without_token();
    }
    if !gate.demands.certificates {
        shown = shown.without_pair();
    }
    let image = Image::small();
    skopeo_push(&gate, shown, &image, "lib/busybox:1").succeeded();

    let said = skopeo_inspect(&gate, shown, "lib/busybox:1").succeeded();
    let inspected = read_json(said.out.as_bytes());
    assert_eq!(inspected["Digest"], image.layout().manifest_digest());
    assert_eq!(inspected["RepoTags"], serde_json::json!(["1"]));

    let pulled = skopeo_pulled(&gate, shown, "lib/busybox:1");
    image.layout().assert_same(&pulled);

    for layer in image.layout().layers() {
        let entry = gate.mirror.logged("the layer's pull", |entry| {
            entry.text("http.request.method") == "GET" && entry.text("url.path").ends_with(&layer)
        });
        let size = image.layout().blob(&layer).len() as u64;
        assert_eq!(entry.status(), 200, "{entry:?}");
        assert_eq!(entry.number("http.response.body.size"), size, "{entry:?}");
        assert_eq!(entry.text("oci.repository"), "lib/busybox", "{entry:?}");
        assert!(entry.text("principal").contains("ci"), "{entry:?}");
    }
}

#[test]
fn an_image_goes_in_and_comes_out_by_token() {
    an_image_goes_in_and_comes_out(Demands::token());
}

#[test]
fn an_image_goes_in_and_comes_out_by_certificate() {
    an_image_goes_in_and_comes_out(Demands::certificate());
}

#[test]
fn an_image_goes_in_and_comes_out_by_token_and_certificate() {
    an_image_goes_in_and_comes_out(Demands::default());
}

#[test]
fn without_a_token_nothing_comes() {
    let gate = gate("registry");
    let said = only_without(&gate, skopeo_pull, Shown::without_token);
    said.failed_saying(&["unauthorized"]);
    logged(&gate, "/manifests/1", "credentials_malformed", 401);
}

#[test]
fn with_a_wrong_token_nothing_comes() {
    let gate = gate("registry");
    let said = only_without(&gate, skopeo_pull, |shown| {
        shown.with_token("ci", WRONG_TOKEN)
    });
    said.failed_saying(&["unauthorized"]);
    logged(&gate, "/manifests/1", "credentials_unknown", 401);
}

#[test]
fn without_a_certificate_nothing_comes() {
    let gate = gate("registry");
    let said = only_without(&gate, skopeo_pull, Shown::without_pair);
    said.failed_saying(&["certificate required"]);
    handshake_failed(&gate, "certificate_missing");
}

#[test]
fn with_a_revoked_certificate_nothing_comes() {
    let gate = gate("registry");
    let revoked = &gate.keys.revoked;
    let said = only_without(&gate, skopeo_pull, |shown| shown.with_pair(revoked));
    said.failed_saying(&["revoked certificate"]);
    handshake_failed(&gate, "certificate_revoked");
}

/// Programs in Go show only a certificate of a CA that the server has named.
#[test]
fn with_a_certificate_of_another_ca_nothing_comes() {
    let gate = gate("registry");
    let stranger = &gate.keys.stranger;
    let said = only_without(&gate, skopeo_pull, |shown| shown.with_pair(stranger));
    said.failed_saying(&["certificate required"]);
    handshake_failed(&gate, "certificate_missing");
}

#[test]
fn a_repository_that_is_not_allowed_is_denied() {
    let gate = gate("registry");
    skopeo_pull(&gate, gate.reader(), "lib/busybox:1").succeeded();
    let said = skopeo_pull(&gate, gate.reader(), "secret/busybox:1");
    said.failed_saying(&["denied"]);
    let entry = logged(&gate, "/manifests/1", "policy_denied", 403);
    assert_eq!(entry.text("oci.repository"), "secret/busybox", "{entry:?}");
}

#[test]
fn a_caller_that_may_only_pull_cannot_push() {
    let gate = gate("registry");
    let said = skopeo_push(&gate, gate.reader(), &Image::small(), "lib/busybox:2");
    said.failed_saying(&["denied"]);
    let entry = logged(&gate, "/uploads/", "policy_denied", 403);
    assert_eq!(entry.text("oci.action"), "push", "{entry:?}");
}

#[test]
fn from_a_network_that_is_not_allowed_nothing_comes() {
    let gate = Demands {
        denied_networks: &["127.0.0.0/8"],
        ..Demands::default()
    };
    let gate = gate.start();
    let said = skopeo_pull(&gate, gate.reader(), "lib/busybox:1");
    said.failed_saying(&["invalid status code from registry 403 (Forbidden)"]);
    logged(&gate, "/v2/", "source_denied", 403);
}
