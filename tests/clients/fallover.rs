//! What containerd does with a mirror's no, when it has a second host: one request, then the next.

use crate::support::commands::{curl_push, host};
use crate::support::containerd::Containerd;
use crate::support::gate::{Demands, Gate, Shown, WRONG_TOKEN};
use crate::support::image::Image;
use crate::support::mirror::Entry;
use crate::support::upstream::Upstream;

/// Pulls `name`, which the second host has, and says how often the first was asked for the tag.
fn asked(gate: &Gate, shown: Shown<'_>, name: &str, image: &Image) -> usize {
    let upstream = Upstream::start();
    upstream.push(image, name);
    let containerd = Containerd::start();
    containerd.set_hosts("docker.io", &upstream.url(), &[host(gate, shown)]);
    containerd.pull(&format!("docker.io/{name}")).succeeded();
    for digest in image.layout().layers() {
        image
            .layout()
            .assert_blob(&digest, &containerd.content(&digest));
    }
    let (repository, tag) = name.split_once(':').unwrap();
    let path = format!("/v2/{repository}/manifests/{tag}");
    let is_ask = |entry: &Entry| {
        entry.text("url.path") == path && entry.text("http.request.method") != "PUT"
    };
    gate.mirror.logged(&path, is_ask);
    gate.mirror.log().into_iter().filter(is_ask).count()
}

#[test]
fn after_a_401_without_challenge_containerd_goes_on() {
    let gate = Demands::default().start();
    let wrong = gate.reader().with_token("reader", WRONG_TOKEN);
    assert_eq!(asked(&gate, wrong, "lib/busybox:1", &Image::small()), 1);
    gate.mirror.refused("credentials_unknown");
}

#[test]
fn after_a_403_containerd_goes_on() {
    let gate = Demands::default().start();
    let image = Image::small();
    curl_push(&gate, gate.ci(), &image, "secret/busybox:1");
    assert_eq!(asked(&gate, gate.reader(), "secret/busybox:1", &image), 1);
    gate.mirror.refused("policy_denied");
}

#[test]
fn after_a_404_containerd_goes_on() {
    let gate = Demands::default().start();
    assert_eq!(
        asked(&gate, gate.reader(), "lib/busybox:1", &Image::small()),
        1
    );
}
