use crate::support::commands::{containerd_pull, host, skopeo_pulled};
use crate::support::containerd::Containerd;
use crate::support::gate::Demands;
use crate::support::image::Image;
use crate::support::upstream::Upstream;

#[test]
fn what_the_mirror_lacks_is_pulled_through_once() {
    let upstream = Upstream::start();
    let image = Image::build(1 << 20);
    upstream.push(&image, "lib/busybox:1");
    let gate = Demands {
        preset: "registry",
        upstream: Some(upstream.url()),
        ..Demands::default()
    };
    let gate = gate.start();

    let pulled = skopeo_pulled(&gate, gate.reader(), "lib/busybox:1");
    image.layout().assert_same(&pulled);
    let asked = |digest: &str| upstream.requests(&format!("GET /v2/lib/busybox/blobs/{digest}"));
    for digest in image.layout().layers() {
        assert_eq!(asked(&digest), 1, "{digest}");
    }

    let again = skopeo_pulled(&gate, gate.reader(), "lib/busybox:1");
    image.layout().assert_same(&again);
    for digest in image.layout().layers() {
        assert_eq!(asked(&digest), 1, "{digest}");
    }
}

#[test]
fn what_was_pulled_through_stays_when_the_upstream_goes() {
    let upstream = Upstream::start();
    let image = Image::small();
    upstream.push(&image, "lib/busybox:1");
    let gate = Demands {
        upstream: Some(upstream.url()),
        ..Demands::default()
    };
    let gate = gate.start();
    containerd_pull(&gate, gate.reader(), "lib/busybox:1").succeeded();
    drop(upstream);

    let containerd = Containerd::start();
    containerd.set_hosts(
        "docker.io",
        &gate.mirror.url(),
        &[host(&gate, gate.reader())],
    );
    let reference = format!("docker.io/lib/busybox@{}", image.layout().manifest_digest());
    containerd.pull(&reference).succeeded();
    for digest in image.layout().layers() {
        image
            .layout()
            .assert_blob(&digest, &containerd.content(&digest));
    }
}

#[test]
fn a_caller_that_is_refused_makes_no_request_upstream() {
    let upstream = Upstream::start();
    let image = Image::small();
    upstream.push(&image, "secret/busybox:1");
    let gate = Demands {
        upstream: Some(upstream.url()),
        ..Demands::default()
    };
    let gate = gate.start();
    let before = upstream.requests("/v2/secret/");
    let said = containerd_pull(&gate, gate.reader(), "secret/busybox:1");
    said.failed_saying(&["403 Forbidden"]);
    gate.mirror.refused("policy_denied");
    assert_eq!(upstream.requests("/v2/secret/"), before);
}
