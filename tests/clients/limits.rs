//! Real clients under limits: shed, throttled, cut.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use crate::support::commands::{
    curl, curl_push, fresh, host, podman_pull, podman_pull_by, skopeo_pull, skopeo_pull_by,
    skopeo_pull_to,
};
use crate::support::containerd::{Containerd, Host};
use crate::support::cutter::Cutter;
use crate::support::gate::{Demands, Gate};
use crate::support::image::{Image, Layout};
use crate::support::process::run;
use crate::support::upstream::Upstream;
use crate::support::wait::until;

const ONE_STREAM: &str = "[[limits.limit]]\n\
    name = \"node\"\n\
    key = \"total\"\n\
    direction = \"response\"\n\
    rate = \"1GB\"\n\
    max_streams = 1\n";

/// So low that a second reader has to wait for its turn.
const LOW_RATE: &str = "[[limits.limit]]\n\
    name = \"node\"\n\
    key = \"total\"\n\
    direction = \"response\"\n\
    rate = \"64KiB\"\n\
    burst = \"64KiB\"\n\
    shed = { max_wait = \"5ms\" }\n";

/// A gate whose one stream, or whole rate, is taken by a slow reader.
struct Busy {
    gate: Gate,
    image: Image,
    reader: Child,
}

impl Busy {
    fn new(preset: &'static str, limit: &str) -> Self {
        let gate = Demands {
            preset,
            more: limit.to_owned(),
            ..Demands::certificate()
        };
        let gate = gate.start();
        let image = Image::build(64 << 20);
        curl_push(&gate, gate.ci().without_token(), &image, "lib/busybox:1");
        let path = format!("/v2/lib/busybox/blobs/{}", image.layout().layers()[1]);
        let out = fresh(&gate, "slow");
        let mut slow = curl(&gate, gate.ci().without_token(), &path);
        slow.args(["--limit-rate", "100K", "--output"]).arg(&out);
        let reader = slow.stdin(Stdio::null()).spawn().unwrap();
        wait_for_bytes(&out);
        Self {
            gate,
            image,
            reader,
        }
    }

    fn end(&mut self) {
        self.reader.kill().unwrap();
        self.reader.wait().unwrap();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.reader.kill();
        let _ = self.reader.wait();
    }
}

fn wait_for_bytes(file: &Path) {
    until("the first bytes", || {
        fs::metadata(file)
            .is_ok_and(|file| file.len() > 0)
            .then_some(())
    });
}

/// Pulls by containerd from the busy mirror, or else the registry behind it; says how often the
/// mirror was asked for the tag.
fn asked_while_busy(preset: &'static str, status: u64, limit: &str, reason: &str) -> usize {
    let busy = Busy::new(preset, limit);
    let upstream = Upstream::start();
    upstream.push(&busy.image, "lib/busybox:1");
    let containerd = Containerd::start();
    let shown = busy.gate.reader().without_token();
    containerd.set_hosts("docker.io", &upstream.url(), &[host(&busy.gate, shown)]);
    containerd.pull("docker.io/lib/busybox:1").succeeded();
    let entry = busy.gate.mirror.refused(reason);
    assert_eq!(entry.status(), status, "{entry:?}");
    let log = busy.gate.mirror.log();
    log.iter()
        .filter(|entry| {
            entry.text("http.request.method") == "HEAD"
                && entry.text("url.path") == "/v2/lib/busybox/manifests/1"
        })
        .count()
}

#[test]
fn containerd_goes_on_to_its_second_host_after_one_503() {
    let asked = asked_while_busy("mirror", 503, ONE_STREAM, "streams_exceeded");
    assert_eq!(asked, 1);
}

#[test]
fn containerd_goes_on_to_its_second_host_when_the_rate_is_used_up() {
    let asked = asked_while_busy("mirror", 503, LOW_RATE, "rate_exceeded");
    assert_eq!(asked, 1);
}

/// Why the `mirror` preset sheds with 503.
#[test]
fn containerd_repeats_a_429_at_once() {
    let asked = asked_while_busy("registry", 429, ONE_STREAM, "streams_exceeded");
    assert!(asked > 3);
}

#[test]
fn skopeo_waits_as_a_429_tells_it_and_then_pulls() {
    let mut busy = Busy::new("registry", ONE_STREAM);
    let to = fresh(&busy.gate, "pulled");
    let shown = busy.gate.reader().without_token();
    let mut skopeo = skopeo_pull_to(&busy.gate, shown, "lib/busybox:1", &to);
    let mut skopeo = skopeo
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let entry = busy.gate.mirror.refused("streams_exceeded");
    busy.end();
    assert_eq!(entry.status(), 429, "{entry:?}");
    assert!(skopeo.wait().unwrap().success());
    busy.image.layout().assert_same(&Layout::at(to));
}

const SLOW: &str = "[[limits.limit]]\n\
    name = \"stream\"\n\
    key = \"stream\"\n\
    direction = \"response\"\n\
    rate = \"4MB\"\n\
    burst = \"64KiB\"\n";

fn limited(more: &str, ballast: usize) -> (Gate, Image) {
    let gate = Demands {
        more: more.to_owned(),
        ..Demands::certificate()
    };
    let gate = gate.start();
    let image = Image::build(ballast);
    curl_push(&gate, gate.ci().without_token(), &image, "lib/busybox:1");
    (gate, image)
}

#[test]
fn containerd_resumes_a_throttled_transfer_that_is_cut() {
    let (gate, image) = limited(SLOW, 8 << 20);
    let cutter = Cutter::start(gate.mirror.address(), 4 << 20, 1);
    let containerd = Containerd::start();
    let url = format!("https://{}", cutter.host());
    let mirror = Host {
        url: url.clone(),
        ..host(&gate, gate.reader().without_token())
    };
    containerd.set_hosts("docker.io", &url, &[mirror]);
    containerd.pull("docker.io/lib/busybox:1").succeeded();
    assert_eq!(cutter.cuts_left(), 0);
    let layout = image.layout();
    for digest in layout.layers() {
        layout.assert_blob(&digest, &containerd.content(&digest));
    }

    let resumed = gate
        .mirror
        .logged("the rest", |entry| entry.status() == 206);
    assert_eq!(resumed.text("outcome"), "finished", "{resumed:?}");
    let digest = resumed.text("oci.reference");
    let cut = gate.mirror.logged("what was cut", |entry| {
        entry.text("oci.reference") == digest
            && entry.status() == 200
            && entry.text("outcome") == "client_gone"
    });
    // The log counts what the mirror has handed over, of which the wire has lost some.
    let size = layout.blob(digest).len() as u64;
    let rest = resumed.number("http.response.body.size");
    assert!(rest < size, "{resumed:?}");
    assert!(
        cut.number("http.response.body.size") + rest >= size,
        "{cut:?}"
    );
}

/// skopeo 1.9 and podman 4.3, which Debian 12 has, do not go on where they were cut.
#[test]
fn skopeo_and_podman_pull_again_what_was_cut_when_told_to() {
    let (gate, image) = limited(SLOW, 8 << 20);
    let shown = gate.reader().without_token();
    let name = "lib/busybox:1";

    let cutter = Cutter::start(gate.mirror.address(), 4 << 20, 1);
    let to = fresh(&gate, "pulled");
    let pull = || run(&mut skopeo_pull_by(&cutter.host(), &gate, shown, name, &to));
    pull().failed_saying(&["unexpected EOF"]);
    assert_eq!(cutter.cuts_left(), 0);
    pull().succeeded();
    image.layout().assert_same(&Layout::at(&to));

    let cutter = Cutter::start(gate.mirror.address(), 4 << 20, 1);
    let pull = || podman_pull_by(&cutter.host(), &gate, shown, name);
    pull().failed_saying(&["unexpected EOF"]);
    assert_eq!(cutter.cuts_left(), 0);
    pull().succeeded();
}

/// The busybox layer alone takes half a minute then.
#[test]
fn no_client_times_out_at_a_floor_of_32_kib_a_second() {
    let (gate, image) = limited(&SLOW.replace("4MB", "32KiB"), 1024);
    let shown = gate.reader().without_token();
    let containerd = Containerd::start();
    containerd.set_hosts("docker.io", &gate.mirror.url(), &[host(&gate, shown)]);
    thread::scope(|scope| {
        scope.spawn(|| skopeo_pull(&gate, shown, "lib/busybox:1").succeeded());
        scope.spawn(|| podman_pull(&gate, shown, "lib/busybox:1").succeeded());
        scope.spawn(|| containerd.pull("docker.io/lib/busybox:1").succeeded());
    });
    for digest in image.layout().layers() {
        image
            .layout()
            .assert_blob(&digest, &containerd.content(&digest));
    }
    let layer = &image.layout().layers()[0];
    let log = gate.mirror.log();
    let throttled = log.iter().filter(|entry| {
        entry.text("oci.reference") == layer
            && entry.text("http.request.method") == "GET"
            && entry.text("outcome") == "finished"
            && entry.float("throttled") > 10.0
    });
    assert_eq!(throttled.count(), 3);
}
