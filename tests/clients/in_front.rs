//! The gate in front of a registry that knows nothing of it: Debian's `docker-registry`.

use std::process::Command;

use crate::support::commands::{
    curl, curl_push, host, podman_pull, skopeo_inspect, skopeo_pull, skopeo_pulled, skopeo_push,
};
use crate::support::containerd::Containerd;
use crate::support::gate::{Demands, Gate};
use crate::support::image::{Image, read_json};
use crate::support::mirror::Entry;
use crate::support::process::{run, tool};
use crate::support::upstream::Upstream;

fn gate(registry: &Upstream) -> Gate {
    let demands = Demands {
        preset: "registry",
        in_front_of: Some(registry.url()),
        ..Demands::default()
    };
    demands.start()
}

#[test]
fn skopeo_pushes_and_pulls_through_the_gate() {
    let registry = Upstream::start();
    let gate = gate(&registry);
    let image = Image::build(1 << 20);
    skopeo_push(&gate, gate.ci(), &image, "lib/busybox:1").succeeded();
    let said = skopeo_inspect(&gate, gate.reader(), "lib/busybox:1").succeeded();
    let inspected = read_json(said.out.as_bytes());
    assert_eq!(inspected["Digest"], image.layout().manifest_digest());
    let pulled = skopeo_pulled(&gate, gate.reader(), "lib/busybox:1");
    image.layout().assert_same(&pulled);
}

#[test]
fn podman_pulls_through_the_gate() {
    let registry = Upstream::start();
    let image = Image::small();
    registry.push(&image, "lib/busybox:1");
    let gate = gate(&registry);
    let said = podman_pull(&gate, gate.reader(), "lib/busybox:1").succeeded();
    let config = image.layout().config();
    assert_eq!(Some(said.out.trim()), config.strip_prefix("sha256:"));
    podman_pull(&gate, gate.reader(), "secret/busybox:1").failed_saying(&["denied"]);
}

/// It goes on to its next host, which is the registry itself, where the gate refuses and where it is gone.
#[test]
fn containerd_pulls_through_the_gate_and_past_it_where_it_refuses_or_is_down() {
    let registry = Upstream::start();
    let image = Image::small();
    for name in ["lib/busybox:1", "secret/busybox:1", "lib/busybox:2"] {
        registry.push(&image, name);
    }
    let mut gate = gate(&registry);
    let containerd = Containerd::start();
    let hosts = [host(&gate, gate.reader())];
    containerd.set_hosts("docker.io", &registry.url(), &hosts);
    for name in ["lib/busybox:1", "secret/busybox:1"] {
        containerd.pull(&format!("docker.io/{name}")).succeeded();
    }
    let by_containerd = |path: &'static str| {
        move |entry: &Entry| {
            entry.text("user_agent.original").contains("containerd")
                && entry.text("url.path") == path
        }
    };
    let pulled = by_containerd("/v2/lib/busybox/manifests/1");
    assert_eq!(gate.mirror.logged("a pull", pulled).status(), 200);
    let refused = by_containerd("/v2/secret/busybox/manifests/1");
    assert_eq!(gate.mirror.logged("a refusal", refused).status(), 403);
    for digest in image.layout().layers() {
        image
            .layout()
            .assert_blob(&digest, &containerd.content(&digest));
    }
    gate.mirror.daemon.terminate();
    gate.mirror.daemon.ended();
    containerd.pull("docker.io/lib/busybox:2").succeeded();
}

#[test]
fn what_the_gate_refuses_does_not_reach_the_registry() {
    let registry = Upstream::start();
    registry.push(&Image::small(), "secret/busybox:1");
    let gate = gate(&registry);
    let before = registry.requests("/v2/secret/");
    let said = skopeo_pull(&gate, gate.reader(), "secret/busybox:1");
    said.failed_saying(&["denied"]);
    assert_eq!(registry.requests("/v2/secret/"), before);
    let said = skopeo_push(&gate, gate.reader(), &Image::small(), "lib/busybox:1");
    said.failed_saying(&["denied"]);
    let said = registry.daemon.err().all();
    let uploads = said
        .iter()
        .filter(|line| line.contains("/v2/lib/busybox/blobs/uploads/"));
    assert_eq!(uploads.count(), 0);
}

#[test]
fn curl_pushes_and_deletes_through_the_gate() {
    let registry = Upstream::start();
    let gate = gate(&registry);
    let image = Image::small();
    curl_push(&gate, gate.ci(), &image, "lib/busybox:1");
    let path = format!(
        "/v2/lib/busybox/manifests/{}",
        image.layout().manifest_digest()
    );
    let mut delete = curl(&gate, gate.ci(), &path);
    run(delete.args(["--fail-with-body", "--request", "DELETE"])).succeeded();
    let gone = run(curl(&gate, gate.ci(), &path).arg("--fail-with-body"));
    gone.failed_saying(&["404", "MANIFEST_UNKNOWN"]);
}

/// An answer as curl has it.
#[derive(Debug)]
struct Answer {
    /// 18 where less came than the head says, as of this registry's 416.
    exit: Option<i32>,
    status: String,
    headers: Vec<String>,
    body: String,
}

impl Answer {
    fn of(curl: &mut Command, options: &[&str]) -> Self {
        let said = run(curl.args(["--http1.1", "--include"]).args(options));
        assert!(said.out.starts_with("HTTP/1.1 "), "{said}");
        let (head, body) = said.out.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().to_owned();
        let mut headers: Vec<String> = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                format!("{}: {value}", name.to_lowercase())
            })
            // The one thing in which two answers of one registry differ.
            .filter(|line| !line.starts_with("date: "))
            .collect();
        headers.sort();
        let body = body.to_owned();
        Self {
            exit: said.status.code(),
            status,
            headers,
            body,
        }
    }

    /// Takes a header out.
    fn take(&mut self, name: &str) -> Option<String> {
        let start = format!("{name}: ");
        let at = self
            .headers
            .iter()
            .position(|line| line.starts_with(&start))?;
        Some(self.headers.remove(at)[start.len()..].to_owned())
    }
}

#[test]
fn each_answer_of_the_registry_is_the_clients_but_for_the_requests_id() {
    let registry = Upstream::start();
    let image = Image::small();
    registry.push(&image, "lib/busybox:1");
    let gate = gate(&registry);
    let layer = image.layout().layers().remove(1);
    let blob = format!("/v2/lib/busybox/blobs/{layer}");
    let manifest = "/v2/lib/busybox/manifests/1";
    let none = format!("sha256:{}", "0".repeat(64));
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let condition = format!("If-None-Match: \"{}\"", image.layout().manifest_digest());
    for (path, options) in [
        ("/v2/", vec![]),
        (manifest, vec!["--header", accept]),
        (manifest, vec!["--header", accept, "--head"]),
        (manifest, vec!["--header", accept, "--header", &condition]),
        (&blob, vec![]),
        (&blob, vec!["--head"]),
        (&blob, vec!["--range", "10-19"]),
        (&blob, vec!["--range", "99999999-"]),
        (&format!("/v2/lib/busybox/blobs/{none}"), vec![]),
        (&format!("/v2/lib/busybox/blobs/{none}"), vec!["--head"]),
        ("/v2/lib/busybox/manifests/none", vec![]),
        ("/v2/lib/busybox/tags/list", vec![]),
        ("/v2/lib/busybox/tags/list?n=1", vec![]),
        ("/v2/lib/none/tags/list", vec![]),
        ("/v2/_catalog?n=1", vec![]),
    ] {
        let mut direct = Command::new(tool("curl", "curl"));
        direct.args(["--silent", "--show-error", "--max-time", "60"]);
        direct.arg(format!("{}{path}", registry.url()));
        let direct = Answer::of(&mut direct, &options);
        let mut through = Answer::of(&mut curl(&gate, gate.ci(), path), &options);
        let id = through.take("x-request-id");
        assert!(id.is_some_and(|id| !id.is_empty()), "{path} {options:?}");
        assert_eq!(through.exit, direct.exit, "{path} {options:?}");
        assert_eq!(through.status, direct.status, "{path} {options:?}");
        assert_eq!(through.headers, direct.headers, "{path} {options:?}");
        assert!(
            through.body == direct.body,
            "another body: {path} {options:?}"
        );
    }

    // An upload goes on by the gate, wherever the registry believes itself to be.
    let path = "/v2/lib/busybox/blobs/uploads/";
    let options = ["--request", "POST"];
    let mut begun = Answer::of(&mut curl(&gate, gate.ci(), path), &options);
    assert_eq!(begun.status, "HTTP/1.1 202 Accepted");
    let location = begun.take("location").unwrap();
    assert!(location.starts_with(path), "{location}");
}
