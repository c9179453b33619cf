use crate::refused::{gate, handshake_failed, logged, only_without};
use crate::support::commands::{containerd_pull, containerd_pulled, curl, curl_push, host};
use crate::support::containerd::Containerd;
use crate::support::gate::{Demands, Gate, Shown, WRONG_TOKEN};
use crate::support::image::Image;
use crate::support::process::run;

fn an_image_comes<'a>(gate: &'a Gate, image: &Image, shown: Shown<'a>) {
    containerd_pulled(gate, shown, image, "lib/busybox:1");
    let entry = gate.mirror.logged("a pull of containerd's", |entry| {
        entry.text("user_agent.original").contains("containerd")
            && entry.text("oci.endpoint").contains("blob")
    });
    assert_eq!(entry.status(), 200, "{entry:?}");
    assert_eq!(entry.text("oci.registry"), "docker.io", "{entry:?}");
}

#[test]
fn an_image_comes_by_a_static_authorization_header() {
    let gate = Demands::token().start();
    let image = Image::small();
    curl_push(&gate, gate.ci().without_pair(), &image, "lib/busybox:1");
    an_image_comes(&gate, &image, gate.reader().without_pair());
}

#[test]
fn an_image_comes_by_a_client_certificate() {
    let gate = Demands::certificate().start();
    let image = Image::small();
    curl_push(&gate, gate.ci().without_token(), &image, "lib/busybox:1");
    an_image_comes(&gate, &image, gate.reader().without_token());
}

#[test]
fn an_image_comes_by_both() {
    let gate = Demands::default().start();
    let image = Image::small();
    curl_push(&gate, gate.ci(), &image, "lib/busybox:1");
    an_image_comes(&gate, &image, gate.reader());
}

#[test]
fn with_digests_bound_to_repositories_a_layer_comes_only_after_its_manifest() {
    let gate = Demands {
        more: "[policy.digest_binding]\n".to_owned(),
        ..Demands::default()
    };
    let gate = gate.start();
    let image = Image::small();
    curl_push(&gate, gate.ci(), &image, "lib/busybox:1");
    let layer = &image.layout().layers()[1];
    let path = format!("/v2/lib/busybox/blobs/{layer}?ns=docker.io");
    let status = || {
        let mut curl = curl(&gate, gate.reader(), &path);
        run(curl.args(["--write-out", "%{http_code}", "--output", "/dev/null"])).out
    };
    assert_eq!(status(), "404");
    an_image_comes(&gate, &image, gate.reader());
    assert_eq!(status(), "200");
}

/// containerd asks to mount each layer from the repository that it has it from, and a 403 there ends its
/// push.
#[test]
fn a_push_whose_mounts_are_not_allowed_uploads_the_layers() {
    let gate = Demands {
        more: "[[policy.rules]]\nname = \"team\"\n\
               who = [\"token:reader\", \"spiffe://example.org/reader\"]\n\
               actions = [\"pull\", \"push\"]\nrepositories = [\"team/**\"]\n"
            .to_owned(),
        ..Demands::default()
    };
    let gate = gate.start();
    let image = Image::small();
    curl_push(&gate, gate.ci(), &image, "secret/busybox:1");
    let containerd = Containerd::start();
    let url = gate.mirror.url();
    containerd.set_hosts("docker.io", &url, &[host(&gate, gate.ci())]);
    containerd.pull("docker.io/secret/busybox:1").succeeded();
    let tag = ["docker.io/secret/busybox:1", "docker.io/team/app:1"];
    containerd
        .ctr(&["images", "tag", tag[0], tag[1]])
        .succeeded();
    containerd.set_hosts("docker.io", &url, &[host(&gate, gate.reader())]);
    containerd.push("docker.io/team/app:1").succeeded();
    let entry = gate.mirror.logged("a mount that was declined", |entry| {
        entry.text("mount.declined").contains("secret/busybox")
    });
    assert_eq!(entry.status(), 202, "{entry:?}");
    assert_eq!(entry.text("oci.repository"), "team/app", "{entry:?}");
    for layer in image.layout().layers() {
        let path = format!("/v2/team/app/blobs/{layer}?ns=docker.io");
        let mut curl = curl(&gate, gate.reader(), &path);
        let said = run(curl.args(["--write-out", "%{http_code}", "--output", "/dev/null"]));
        assert_eq!(said.out, "200", "{layer}");
    }
}

#[test]
fn without_a_token_nothing_comes() {
    let gate = gate("mirror");
    let said = only_without(&gate, containerd_pull, Shown::without_token);
    said.failed_saying(&["401 Unauthorized"]);
    logged(&gate, "/manifests/1", "credentials_missing", 401);
}

#[test]
fn with_a_wrong_token_nothing_comes() {
    let gate = gate("mirror");
    let said = only_without(&gate, containerd_pull, |shown| {
        shown.with_token("ci", WRONG_TOKEN)
    });
    said.failed_saying(&["401 Unauthorized"]);
    logged(&gate, "/manifests/1", "credentials_unknown", 401);
}

#[test]
fn without_a_certificate_nothing_comes() {
    let gate = gate("mirror");
    let said = only_without(&gate, containerd_pull, Shown::without_pair);
    said.failed_saying(&["certificate required"]);
    handshake_failed(&gate, "certificate_missing");
}

#[test]
fn with_a_revoked_certificate_nothing_comes() {
    let gate = gate("mirror");
    let revoked = &gate.keys.revoked;
    let said = only_without(&gate, containerd_pull, |shown| shown.with_pair(revoked));
    said.failed_saying(&["revoked certificate"]);
    handshake_failed(&gate, "certificate_revoked");
}

/// Programs in Go show only a certificate of a CA that the server has named.
#[test]
fn with_a_certificate_of_another_ca_nothing_comes() {
    let gate = gate("mirror");
    let stranger = &gate.keys.stranger;
    let said = only_without(&gate, containerd_pull, |shown| shown.with_pair(stranger));
    said.failed_saying(&["certificate required"]);
    handshake_failed(&gate, "certificate_missing");
}

#[test]
fn a_repository_that_is_not_allowed_is_denied() {
    let gate = gate("mirror");
    let said = containerd_pull(&gate, gate.reader(), "secret/busybox:1");
    said.failed_saying(&["403 Forbidden"]);
    let entry = logged(&gate, "/manifests/1", "policy_denied", 403);
    assert_eq!(entry.text("oci.repository"), "secret/busybox", "{entry:?}");
}

#[test]
fn from_a_network_that_is_not_allowed_nothing_comes() {
    let gate = Demands {
        denied_networks: &["127.0.0.0/8"],
        ..Demands::default()
    };
    let gate = gate.start();
    let said = containerd_pull(&gate, gate.reader(), "lib/busybox:1");
    said.failed_saying(&["403 Forbidden"]);
    logged(&gate, "/v2/", "source_denied", 403);
}
