//! Which secrets go where: a pod's upstream secret and the mirror in between; none in a log.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::commands::{
    Pull, containerd_pull, curl_pull, curl_push, podman_pull, skopeo_pull, skopeo_push,
};
use crate::support::containerd::{Containerd, Host};
use crate::support::gate::{CI_TOKEN, Demands, Gate, READER_TOKEN, WRONG_TOKEN};
use crate::support::image::Image;
use crate::support::recorder::{Passed, Recorder};
use crate::support::upstream::Upstream;

const SECRET: &str = "puller:the-pods-upstream-secret";

struct Scene {
    gate: Gate,
    recorder: Recorder,
    upstream: Upstream,
    containerd: Containerd,
}

impl Scene {
    /// containerd asks the mirror first, and a registry that has the image after it.
    fn new(preset: &'static str, token: &str) -> Self {
        let gate = Demands {
            preset,
            ..Demands::default()
        };
        let gate = gate.start();
        let image = Image::small();
        curl_push(&gate, gate.ci(), &image, "lib/busybox:1");
        let upstream = Upstream::start();
        upstream.push(&image, "lib/busybox:1");
        let client = gate.keys.reader.files();
        let recorder = Recorder::start(&gate.mirror.host(), &gate.keys.ca, client);
        let containerd = Containerd::start();
        let mirror = Host {
            url: recorder.url(),
            authorization: Some(format!("Bearer {token}")),
            ..Host::default()
        };
        containerd.set_hosts("docker.io", &upstream.url(), &[mirror]);
        Self {
            gate,
            recorder,
            upstream,
            containerd,
        }
    }

    /// Pulls with the pod's secret at hand, and says what the mirror has been sent.
    fn pull(&self) -> Vec<Passed> {
        let said = self
            .containerd
            .pull_with("docker.io/lib/busybox:1", &["--user", SECRET]);
        said.succeeded();
        self.recorder
            .wait_for("a request for the manifest", |passed| {
                passed.path.contains("/manifests/")
            })
    }
}

fn secret() -> String {
    format!("Basic {}", STANDARD.encode(SECRET))
}

#[test]
fn a_pods_upstream_secret_never_reaches_a_mirror_that_lets_it_in() {
    let scene = Scene::new("mirror", READER_TOKEN);
    let before = scene.upstream.requests("/v2/");
    let passed = scene.pull();
    let sent = format!("Bearer {READER_TOKEN}");
    assert!(
        passed
            .iter()
            .all(|passed| passed.authorization == sent && passed.status == 200),
        "{passed:?}"
    );
    assert_eq!(scene.upstream.requests("/v2/"), before);
}

#[test]
fn a_pods_upstream_secret_never_reaches_a_mirror_that_turns_it_away() {
    let scene = Scene::new("mirror", WRONG_TOKEN);
    let before = scene.upstream.requests("/v2/");
    let passed = scene.pull();
    let sent = format!("Bearer {WRONG_TOKEN}");
    assert!(
        passed
            .iter()
            .all(|passed| passed.authorization == sent && passed.status == 401),
        "{passed:?}"
    );
    scene.gate.mirror.refused("credentials_unknown");
    // The image has come from the second host.
    assert!(scene.upstream.requests("/v2/") > before);
}

/// Why the `mirror` preset has no challenge: the same with one.
#[test]
fn a_basic_challenge_makes_containerd_send_the_pods_upstream_secret() {
    let scene = Scene::new("registry", WRONG_TOKEN);
    let passed = scene.pull();
    assert!(
        passed.iter().any(|passed| passed.authorization == secret()),
        "{passed:?}"
    );
}

/// Every client in one run, with tokens that are right and wrong, in both ways to show them.
#[test]
fn not_even_at_trace_level_a_secret_is_logged() {
    let gate = Demands {
        preset: "registry",
        trace: true,
        ..Demands::default()
    };
    let gate = gate.start();
    let image = Image::small();
    skopeo_push(&gate, gate.ci(), &image, "lib/busybox:1").succeeded();
    let pulls: [Pull; 4] = [skopeo_pull, containerd_pull, podman_pull, curl_pull];
    for pull in pulls {
        pull(&gate, gate.reader(), "lib/busybox:1").succeeded();
        let wrong = gate.reader().with_token("reader", WRONG_TOKEN);
        pull(&gate, wrong, "lib/busybox:1").failed_saying(&[]);
    }
    gate.mirror.refused("credentials_unknown");
    let said = gate.mirror.daemon.err().all();
    assert!(said.iter().any(|line| line.contains("\"level\":\"TRACE\"")));
    let key = fs::read_to_string(&gate.keys.server.key).unwrap();
    let mut secrets = vec![key.lines().nth(1).unwrap().to_owned()];
    for (id, token) in [
        ("ci", CI_TOKEN),
        ("reader", READER_TOKEN),
        ("reader", WRONG_TOKEN),
    ] {
        secrets.push(token.to_owned());
        secrets.push(STANDARD.encode(format!("{id}:{token}")));
    }
    for line in said.iter().chain(&gate.mirror.daemon.out().all()) {
        for secret in &secrets {
            assert!(!line.contains(secret), "{secret} is in the log: {line}");
        }
    }
}
