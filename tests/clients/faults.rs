//! What clients get through a mirror whose upstream is Debian's docker-registry behind a bad line.

use serde_json::Value;

use crate::support::commands::{containerd_pulled, podman_pull, skopeo_pull, skopeo_pulled};
use crate::support::faulty::Faulty;
use crate::support::gate::{CI_TOKEN, Demands, Gate};
use crate::support::image::Image;
use crate::support::process::run;
use crate::support::upstream::Upstream;
use crate::uploads::python;

const NAME: &str = "lib/busybox:1";

/// A mirror behind which all that is, and the image that the registry has.
struct Line {
    gate: Gate,
    faulty: Faulty,
    image: Image,
    _upstream: Upstream,
}

impl Line {
    fn start(preset: &'static str) -> Self {
        let upstream = Upstream::start();
        let image = Image::build(3 << 20);
        upstream.push(&image, NAME);
        let faulty = Faulty::start(upstream.port);
        let gate = Demands {
            preset,
            upstream: Some(faulty.url()),
            upstream_redirect: Some(faulty.storage()),
            ..Demands::token()
        };
        Self {
            gate: gate.start(),
            faulty,
            image,
            _upstream: upstream,
        }
    }

    /// That nothing came in one piece, and all went on where it was cut.
    #[track_caller]
    fn was_cut(&self) {
        assert!(self.faulty.cuts() >= 4, "{} cuts", self.faulty.cuts());
    }
}

#[test]
fn skopeo_pulls_through_a_bad_line() {
    let line = Line::start("registry");
    let pulled = skopeo_pulled(&line.gate, line.gate.ci(), NAME);
    line.image.layout().assert_same(&pulled);
    line.was_cut();
}

#[test]
fn podman_pulls_through_a_bad_line() {
    let line = Line::start("registry");
    let said = podman_pull(&line.gate, line.gate.ci(), NAME).succeeded();
    // It prints the id of what it has stored, which is the digest of the configuration; the layers are
    // verified by podman itself.
    let config = line.image.layout().config();
    assert_eq!(Some(said.out.trim()), config.strip_prefix("sha256:"));
    line.was_cut();
}

#[test]
fn containerd_pulls_through_a_bad_line() {
    let line = Line::start("mirror");
    containerd_pulled(&line.gate, line.gate.ci(), &line.image, NAME);
    line.was_cut();
}

#[test]
fn pypis_oras_pulls_through_a_bad_line() {
    let line = Line::start("registry");
    let mut pull = python("pull.py");
    pull.arg(line.gate.mirror.host()).arg(&line.gate.keys.ca);
    pull.args(["ci", CI_TOKEN, NAME]);
    let said = run(&mut pull).succeeded();
    let found: Value = serde_json::from_str(&said.out).unwrap();
    let layout = line.image.layout();
    let expected: serde_json::Map<_, _> = layout
        .layers()
        .into_iter()
        .chain([layout.config()])
        .map(|digest| (digest.clone(), digest.into()))
        .collect();
    assert_eq!(found, Value::Object(expected));
    line.was_cut();
}

#[test]
fn what_a_line_changes_reaches_no_client_and_is_not_kept() {
    let line = Line::start("registry");
    line.faulty.garble(true);
    let said = skopeo_pull(&line.gate, line.gate.ci(), NAME);
    assert!(!said.status.success(), "{said}");
    let blobs = line.gate.mirror.folder().join("data/blobs");
    assert!(!blobs.join("sha256").exists());
    line.faulty.garble(false);
    let pulled = skopeo_pulled(&line.gate, line.gate.ci(), NAME);
    line.image.layout().assert_same(&pulled);
}
