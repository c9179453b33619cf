//! The command lines of the clients.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::containerd::{Containerd, Host};
use super::gate::{Gate, Shown};
use super::image::{Image, Layout, cert_dir};
use super::process::{Said, as_root, run, tool};

/// What pulls an image from a gate.
pub type Pull = fn(&Gate, Shown<'_>, &str) -> Said;

pub fn skopeo_pull(gate: &Gate, shown: Shown<'_>, name: &str) -> Said {
    run(&mut skopeo_pull_to(
        gate,
        shown,
        name,
        &fresh(gate, "pulled"),
    ))
}

pub fn skopeo_pull_to(gate: &Gate, shown: Shown<'_>, name: &str, to: &Path) -> Command {
    skopeo_pull_by(&gate.mirror.host(), gate, shown, name, to)
}

/// By another way to the gate.
pub fn skopeo_pull_by(host: &str, gate: &Gate, shown: Shown<'_>, name: &str, to: &Path) -> Command {
    let mut skopeo = skopeo("copy");
    skopeo_shows(&mut skopeo, gate, shown, "src-");
    skopeo.arg(format!("docker://{host}/{name}"));
    skopeo.arg(format!("oci:{}:1", to.display()));
    skopeo
}

/// Pulls, and says what has come.
pub fn skopeo_pulled(gate: &Gate, shown: Shown<'_>, name: &str) -> Layout {
    let to = fresh(gate, "pulled");
    run(&mut skopeo_pull_to(gate, shown, name, &to)).succeeded();
    Layout::at(to)
}

pub fn skopeo_push(gate: &Gate, shown: Shown<'_>, image: &Image, name: &str) -> Said {
    let mut skopeo = skopeo("copy");
    skopeo_shows(&mut skopeo, gate, shown, "dest-");
    run(skopeo.arg(image.source()).arg(gate.mirror.image(name)))
}

pub fn skopeo_inspect(gate: &Gate, shown: Shown<'_>, name: &str) -> Said {
    let mut skopeo = skopeo("inspect");
    skopeo_shows(&mut skopeo, gate, shown, "");
    run(skopeo.arg(gate.mirror.image(name)))
}

fn skopeo(verb: &str) -> Command {
    let mut skopeo = Command::new(tool("skopeo", "skopeo"));
    skopeo.args(["--insecure-policy", verb]);
    skopeo
}

fn skopeo_shows(skopeo: &mut Command, gate: &Gate, shown: Shown<'_>, end: &str) {
    skopeo
        .arg(format!("--{end}cert-dir"))
        .arg(certs(gate, shown));
    match shown.token {
        Some((id, token)) => {
            skopeo.arg(format!("--{end}creds={id}:{token}"));
        }
        None => {
            skopeo.arg(format!("--{end}no-creds"));
        }
    }
}

pub fn podman_pull(gate: &Gate, shown: Shown<'_>, name: &str) -> Said {
    podman_pull_by(&gate.mirror.host(), gate, shown, name)
}

/// By another way to the gate.
pub fn podman_pull_by(host: &str, gate: &Gate, shown: Shown<'_>, name: &str) -> Said {
    let mut podman = as_root(tool("podman", "podman"));
    // Its helpers keep their sockets there, whose paths may not be long.
    let at = |part: &str| gate.mirror.folder().join("podman").join(part);
    podman
        .args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"])
        .arg("--root")
        .arg(at("root"))
        .arg("--runroot")
        .arg(at("run"))
        .arg("--tmpdir")
        .arg(at("tmp"));
    podman.args(["pull", "--cert-dir"]).arg(certs(gate, shown));
    if let Some((id, token)) = shown.token {
        podman.arg(format!("--creds={id}:{token}"));
    }
    run(podman.arg(format!("{host}/{name}")))
}

/// `ctr`, in a containerd that lives for this pull.
pub fn containerd_pull(gate: &Gate, shown: Shown<'_>, name: &str) -> Said {
    let containerd = Containerd::start();
    containerd.set_hosts("registry.example", &gate.mirror.url(), &[host(gate, shown)]);
    containerd.pull(&format!("registry.example/{name}"))
}

/// Pulls by `ctr`, in a containerd that lives for it; what has come is that image.
#[track_caller]
pub fn containerd_pulled(gate: &Gate, shown: Shown<'_>, image: &Image, name: &str) {
    let containerd = Containerd::start();
    containerd.set_hosts("docker.io", &gate.mirror.url(), &[host(gate, shown)]);
    containerd.pull(&format!("docker.io/{name}")).succeeded();
    let layout = image.layout();
    for digest in layout.layers().into_iter().chain([layout.config()]) {
        layout.assert_blob(&digest, &containerd.content(&digest));
    }
}

/// The gate as a host of a `hosts.toml`.
pub fn host<'a>(gate: &'a Gate, shown: Shown<'a>) -> Host<'a> {
    Host {
        url: gate.mirror.url(),
        ca: Some(&gate.keys.ca),
        client: shown.pair.map(super::pki::Pair::files),
        authorization: shown.token.map(|(_, token)| format!("Bearer {token}")),
    }
}

/// Puts an image there: each blob in one `PUT`, then the manifest.
pub fn curl_push(gate: &Gate, shown: Shown<'_>, image: &Image, name: &str) {
    let layout = image.layout();
    let (repository, tag) = name.split_once(':').unwrap();
    for digest in layout.layers().into_iter().chain([layout.config()]) {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let mut begin = curl(gate, shown, &path);
        begin.args(["--fail-with-body", "--request", "POST"]);
        begin.args(["--output", "/dev/null", "--write-out", "%header{location}"]);
        let location = run(&mut begin).succeeded().out;
        let path = location
            .strip_prefix(&gate.mirror.url())
            .unwrap_or(&location);
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut put = curl(gate, shown, &format!("{path}{mark}digest={digest}"));
        put.args([
            "--fail-with-body",
            "--header",
            "Content-Type: application/octet-stream",
        ]);
        run(put.arg("--upload-file").arg(layout.blob_file(&digest))).succeeded();
    }
    let mut put = curl(gate, shown, &format!("/v2/{repository}/manifests/{tag}"));
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
    put.args(["--fail-with-body", "--header", kind, "--upload-file"]);
    run(put.arg(layout.blob_file(&layout.manifest_digest()))).succeeded();
}

/// The manifest by curl.
pub fn curl_pull(gate: &Gate, shown: Shown<'_>, name: &str) -> Said {
    let (repository, tag) = name.split_once(':').unwrap();
    let path = format!("/v2/{repository}/manifests/{tag}");
    run(curl(gate, shown, &path).arg("--fail-with-body"))
}

/// The same by TLS 1.2: in 1.3 a refused certificate shows only after the handshake (RFC 8446 §4.4.2),
/// where curl may say of it no more than that the connection is gone.
pub fn curl_pull_by_tls_1_2(gate: &Gate, shown: Shown<'_>, name: &str) -> Said {
    let (repository, tag) = name.split_once(':').unwrap();
    let path = format!("/v2/{repository}/manifests/{tag}");
    run(curl(gate, shown, &path).args(["--fail-with-body", "--tls-max", "1.2"]))
}

/// curl, for a path of the gate's.
pub fn curl(gate: &Gate, shown: Shown<'_>, path: &str) -> Command {
    let mut curl = Command::new(tool("curl", "curl"));
    curl.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]);
    curl.arg(&gate.keys.ca);
    if let Some(pair) = shown.pair {
        curl.arg("--cert")
            .arg(&pair.certificate)
            .arg("--key")
            .arg(&pair.key);
    }
    if let Some((_, token)) = shown.token {
        curl.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    curl.arg(format!("{}{path}", gate.mirror.url()));
    curl
}

fn certs(gate: &Gate, shown: Shown<'_>) -> PathBuf {
    let folder = fresh(gate, "certs");
    cert_dir(
        &folder,
        &gate.keys.ca,
        shown.pair.map(super::pki::Pair::files),
    );
    folder
}

/// A name in the gate's folder that nothing has yet.
pub fn fresh(gate: &Gate, name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    gate.mirror.folder().join(format!("{name}-{number}"))
}
