//! The `node` example: what a containerd holds, by the repositories that it was pulled from.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use crate::refused::no_secret_is_logged;
use crate::support::commands::{curl, curl_push, host};
use crate::support::containerd::Containerd;
use crate::support::gate::{Demands, Gate, Shown};
use crate::support::image::Image;
use crate::support::mirror::example;
use crate::support::process::{free_port, run, tool};
use crate::support::wait::until;

/// The status, the type and the body of an answer.
fn get(gate: &Gate, shown: Shown<'_>, path: &str, more: &[&str]) -> (String, String, String) {
    let mut curl = curl(gate, shown, path);
    curl.args(["--write-out", "\n%{http_code} %{content_type}"]);
    let said = run(curl.args(more)).succeeded();
    let (body, end) = said.out.rsplit_once('\n').unwrap();
    let (status, kind) = end.split_once(' ').unwrap();
    (status.to_owned(), kind.to_owned(), body.to_owned())
}

fn status(gate: &Gate, shown: Shown<'_>, path: &str) -> String {
    get(gate, shown, path, &["--output", "/dev/null"]).0
}

/// A node with the content of this containerd, whose guard asks it too.
fn started(containerd: &Containerd, admin: Option<SocketAddr>) -> Gate {
    let node = Demands {
        node_of: Some(containerd.socket()),
        more: "[policy.digest_binding]\nunknown = \"ask\"\n".to_owned(),
        admin,
        ..Demands::token()
    };
    node.start()
}

/// As [`started`], once it knows what there is.
fn node(containerd: &Containerd, admin: Option<SocketAddr>) -> Gate {
    let node = started(containerd, admin);
    until_status(&node, "/v2/lib/none/manifests/1?ns=docker.io", "404");
    node
}

/// What the operator's port answers, its status on a line of its own behind it.
fn operator(admin: SocketAddr, path: &str) -> String {
    let mut curl = Command::new(tool("curl", "curl"));
    curl.args(["--silent", "--max-time", "60"]);
    curl.args(["--write-out", "\n%{http_code}"]);
    run(curl.arg(format!("http://{admin}{path}")))
        .succeeded()
        .out
}

/// A mirror with an image, `lib/busybox:1`.
fn mirror(image: &Image) -> Gate {
    let mirror = Demands::token().start();
    curl_push(&mirror, mirror.ci().without_pair(), image, "lib/busybox:1");
    mirror
}

/// Pulls the image of [`mirror`].
fn pull(containerd: &Containerd, mirror: &Gate) {
    let hosts = [host(mirror, mirror.ci().without_pair())];
    containerd.set_hosts("docker.io", &mirror.mirror.url(), &hosts);
    containerd.pull("docker.io/lib/busybox:1").succeeded();
}

#[track_caller]
fn until_status(node: &Gate, path: &str, expected: &str) {
    until(&format!("the status {expected} of {path}"), || {
        (status(node, node.ci().without_pair(), path) == expected).then_some(())
    });
}

#[test]
fn a_node_serves_what_its_containerd_holds_by_the_repositories_that_it_came_from() {
    let image = Image::small();
    let mirror = mirror(&image);
    let containerd = Containerd::start();
    let node = node(&containerd, None);
    let (ci, reader) = (node.ci().without_pair(), node.reader().without_pair());
    let layout = image.layout();
    let digest = layout.manifest_digest();
    let by_digest = format!("/v2/lib/busybox/manifests/{digest}?ns=docker.io");
    // Nothing was pulled yet.
    assert_eq!(status(&node, ci, &by_digest), "404");
    pull(&containerd, &mirror);
    // By its events the node knows of it.
    until_status(&node, &by_digest, "200");
    assert_eq!(status(&node, reader, "/v2/"), "200");
    for reference in ["1", &*digest] {
        let path = format!("/v2/lib/busybox/manifests/{reference}?ns=docker.io");
        let (status, kind, body) = get(&node, reader, &path, &[]);
        let expected = "application/vnd.oci.image.manifest.v1+json";
        assert_eq!((&*status, &*kind), ("200", expected));
        layout.assert_blob(&digest, body.as_bytes());
        let (status, kind, body) = get(&node, reader, &path, &["--head"]);
        assert_eq!((&*status, &*kind), ("200", expected));
        let head = body.to_lowercase();
        let named = format!("docker-content-digest: {digest}");
        assert!(head.contains(&named), "{head}");
        let length = format!("content-length: {}", layout.blob(&digest).len());
        assert!(head.contains(&length), "{head}");
    }
    for layer in layout.layers() {
        let path =
            |repository: &str, registry: &str| format!("/v2/{repository}/blobs/{layer}{registry}");
        let mut curl = curl(&node, reader, &path("lib/busybox", "?ns=docker.io"));
        let output = curl.arg("--fail").output().unwrap();
        layout.assert_blob(&layer, &output.stdout);
        for (repository, registry) in [
            // It was not pulled from there, whatever its digest.
            ("lib/other", "?ns=docker.io"),
            ("lib/busybox", "?ns=quay.io"),
            ("lib/busybox", ""),
        ] {
            let path = path(repository, registry);
            let (status, kind, body) = get(&node, ci, &path, &[]);
            assert_eq!((&*status, &*kind), ("404", "application/json"), "{path}");
            assert!(body.starts_with(r#"{"errors":[{"code":""#), "{body}");
        }
        // A layer is no manifest.
        let as_manifest = format!("/v2/lib/busybox/manifests/{layer}?ns=docker.io");
        let (status, _, body) = get(&node, ci, &as_manifest, &[]);
        assert_eq!(status, "404");
        assert!(body.contains("MANIFEST_UNKNOWN"), "{body}");
    }
    // What the policy says of the repository holds, and nothing is written.
    let secret = format!("/v2/secret/busybox/manifests/{digest}?ns=docker.io");
    assert_eq!(status(&node, reader, &secret), "403");
    let anonymous = reader.without_token();
    assert_eq!(status(&node, anonymous, &by_digest), "401");
    for (method, path) in [
        ("POST", "/v2/lib/busybox/blobs/uploads/?ns=docker.io"),
        ("DELETE", &by_digest),
    ] {
        let (status, _, body) = get(&node, ci, path, &["--request", method]);
        assert_eq!(status, "405", "{method}");
        assert!(body.contains("UNSUPPORTED"), "{body}");
    }
    no_secret_is_logged(&node);

    // Another node's containerd pulls from this one.
    let other = Containerd::start();
    other.set_hosts("docker.io", &node.mirror.url(), &[host(&node, reader)]);
    other.pull("docker.io/lib/busybox:1").succeeded();
    for digest in layout.layers() {
        layout.assert_blob(&digest, &other.content(&digest));
    }
    // What is removed there is not served any more.
    containerd
        .ctr(&["images", "rm", "--sync", "docker.io/lib/busybox:1"])
        .succeeded();
    until_status(&node, &by_digest, "404");
}

#[test]
fn a_node_serves_parts_of_a_blob() {
    let image = Image::build(3 << 20);
    let mirror = mirror(&image);
    let containerd = Containerd::start();
    pull(&containerd, &mirror);
    let node = node(&containerd, None);
    let reader = node.reader().without_pair();
    let layout = image.layout();
    let layer = &layout.layers()[1];
    let whole = layout.blob(layer);
    let path = format!("/v2/lib/busybox/blobs/{layer}?ns=docker.io");
    let middle = whole.len() / 2;
    let last = whole.len() - 1;
    let ask = |more: &[&str]| {
        let mut curl = curl(&node, reader, &path);
        let output = curl.arg("--include").args(more).output().unwrap().stdout;
        let end = output.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = output.split_at(end.unwrap() + 4);
        (String::from_utf8_lossy(head).to_lowercase(), body.to_vec())
    };
    for (range, first, last) in [
        (format!("0-{middle}"), 0, middle),
        (format!("{middle}-"), middle, last),
        ("-7".to_owned(), last - 6, last),
        (format!("{last}-{}", last + 100), last, last),
    ] {
        let (head, body) = ask(&["--range", &range]);
        assert!(head.contains(" 206"), "{range}: {head}");
        let expected = format!("content-range: bytes {first}-{last}/{}", whole.len());
        assert!(head.contains(&expected), "{range}: {head}");
        assert!(body == whole[first..=last], "{range}: {} bytes", body.len());
    }
    let (head, _) = ask(&["--range", &format!("{}-", whole.len())]);
    assert!(head.contains(" 416"), "{head}");
    let all = format!("content-range: bytes */{}", whole.len());
    assert!(head.contains(&all), "{head}");
    let (head, body) = ask(&["--header", &format!("If-None-Match: \"{layer}\"")]);
    assert!(head.contains(" 304") && body.is_empty(), "{head}");
    let (head, body) = ask(&["--head"]);
    let length = format!("content-length: {}", whole.len());
    assert!(head.contains(" 200") && head.contains(&length), "{head}");
    assert!(body.is_empty());
}

#[test]
fn while_containerd_is_away_a_node_says_that_it_does_not_know() {
    let image = Image::small();
    let mirror = mirror(&image);
    let mut containerd = Containerd::start();
    pull(&containerd, &mirror);
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let node = node(&containerd, Some(admin));
    let operator = |path: &str| operator(admin, path);
    let layout = image.layout();
    let digest = layout.manifest_digest();
    // Each was not asked for before, so that the guard has not learnt it.
    let never = format!("/v2/lib/other/manifests/{digest}?ns=docker.io");
    let paths = [
        "/v2/lib/busybox/manifests/1?ns=docker.io".to_owned(),
        format!("/v2/lib/busybox/blobs/{}?ns=docker.io", layout.layers()[0]),
        never.clone(),
    ];
    assert!(operator("/readyz").ends_with("\n200"));
    let metrics = operator("/metrics");
    for line in [
        "node_containerd_followed 1\n",
        "node_containerd_reads_total{outcome=\"ok\"} ",
        "node_content_objects ",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let documented = include_str!("../../docs/metrics.md").split_once("## The node example");
    let rows = documented.unwrap().1.lines();
    let documented: BTreeSet<String> = rows
        .filter_map(|row| row.strip_prefix("| `"))
        .map(|row| {
            let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
            format!("# HELP {} {}", cells[0].trim_matches('`'), cells[3])
        })
        .collect();
    let described = metrics
        .lines()
        .filter(|line| line.starts_with("# HELP node_"));
    assert_eq!(
        described.map(str::to_owned).collect::<BTreeSet<_>>(),
        documented
    );
    containerd.stop();
    until("a node that does not know", || {
        operator("/readyz").ends_with("\n503").then_some(())
    });
    node.mirror.said(&["containerd cannot be followed"]);
    assert!(operator("/readyz").contains("containerd cannot be followed"));
    assert!(operator("/metrics").contains("node_containerd_followed 0\n"));
    for path in &paths {
        let (status, _, body) = get(&node, node.ci().without_pair(), path, &[]);
        assert_eq!(status, "503", "{path}");
        assert!(body.contains("UNAVAILABLE"), "{body}");
    }
    // It serves nothing, and still says so to callers only.
    let anyone = node.ci().without_pair().without_token();
    assert_eq!(status(&node, anyone, &paths[0]), "401");
    containerd.start_again();
    until("a node that is ready", || {
        operator("/readyz").ends_with("\n200").then_some(())
    });
    for (path, expected) in paths.iter().zip(["200", "200", "404"]) {
        let ci = node.ci().without_pair();
        assert_eq!(status(&node, ci, path), expected, "{path}");
    }
    no_secret_is_logged(&node);
}

#[test]
fn a_node_checks_its_configuration_without_a_containerd_and_waits_for_one_at_its_start() {
    let mut containerd = Containerd::start();
    containerd.stop();
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let node = started(&containerd, Some(admin));
    let mut check = Command::new(example("node"));
    check.arg("--config");
    check.arg(node.keys.folder.join("gate.toml"));
    check.arg("--containerd").arg(containerd.socket());
    run(check.arg("--check")).succeeded();

    let problem = "containerd cannot be followed";
    until("a failed attempt", || {
        operator(admin, "/readyz").contains(problem).then_some(())
    });
    assert!(operator(admin, "/readyz").ends_with("\n503"));
    assert!(operator(admin, "/livez").ends_with("\n200"));
    let path = "/v2/lib/busybox/manifests/1?ns=docker.io";
    assert_eq!(status(&node, node.ci().without_pair(), path), "503");
    let anyone = node.ci().without_pair().without_token();
    assert_eq!(status(&node, anyone, path), "401");
    containerd.start_again();
    until_status(&node, path, "404");
    assert!(operator(admin, "/readyz").ends_with("\n200"));
    // However often it was tried.
    let lines = node.mirror.daemon.err().all();
    let told = lines.iter().filter(|line| line.contains(problem));
    assert_eq!(told.count(), 1, "{lines:?}");
}
