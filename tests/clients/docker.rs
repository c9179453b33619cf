//! dockerd with a token, at the gate in front of Debian's `docker-registry`, and at the mirror. With a certificate it
//! pulls in `two_nodes`, for at a loopback address it heeds none.

use crate::support::commands::curl_push;
use crate::support::docker::Dockerd;
use crate::support::gate::{CI_TOKEN, Demands, Gate, READER_TOKEN, WRONG_TOKEN};
use crate::support::image::Image;
use crate::support::process::Said;
use crate::support::upstream::Upstream;

fn logs_in_pulls_and_pushes(gate: &Gate) {
    let image = Image::build(1 << 20);
    for name in ["lib/busybox:1", "secret/busybox:1"] {
        curl_push(gate, gate.ci(), &image, name);
    }
    let host = gate.mirror.host();
    let at = |name: &str| format!("{host}/{name}");
    let Some(docker) = Dockerd::start(&host, &gate.keys.ca, None, None) else {
        return;
    };
    // At a loopback address it tries plain HTTP in the end, and reports how that failed.
    let fails = |said: Said, reason: &str| {
        assert!(!said.status.success(), "{said}");
        gate.mirror.refused(reason);
    };
    fails(
        docker.login(&host, "ci", WRONG_TOKEN),
        "credentials_unknown",
    );
    fails(
        docker.run(&["pull", &at("lib/busybox:1")]),
        "credentials_missing",
    );

    let pulled = |name: &str| {
        docker.run(&["pull", &at(name)]).succeeded();
        let id = ["image", "inspect", "--format", "{{.Id}}"];
        let id = docker.run(&[&id[..], &[&at(name)]].concat());
        // dockerd goes by the digest of the configuration.
        assert_eq!(id.succeeded().out.trim(), image.layout().config());
    };
    docker.login(&host, "reader", READER_TOKEN).succeeded();
    pulled("lib/busybox:1");
    let secret = docker.run(&["pull", &at("secret/busybox:1")]);
    fails(secret, "policy_denied");

    docker.login(&host, "ci", CI_TOKEN).succeeded();
    let [own, other] = [at("lib/busybox:1"), at("lib/pushed:2")];
    docker.run(&["tag", &own, &other]).succeeded();
    docker.run(&["push", &other]).succeeded();
    docker.run(&["image", "rm", &own, &other]).succeeded();
    pulled("lib/pushed:2");
}

#[test]
fn dockerd_logs_in_pulls_and_pushes_at_the_gate() {
    let registry = Upstream::start();
    let demands = Demands {
        preset: "registry",
        in_front_of: Some(registry.url()),
        ..Demands::token()
    };
    logs_in_pulls_and_pushes(&demands.start());
}

#[test]
fn dockerd_logs_in_pulls_and_pushes_at_the_mirror() {
    let demands = Demands {
        preset: "registry",
        ..Demands::token()
    };
    logs_in_pulls_and_pushes(&demands.start());
}
