//! The gate in front of a registry that knows nothing of it: Debian's `docker-registry`.

use std::collections::BTreeSet;
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
            // In which two answers of one registry differ: their times, and whether it goes on with a connection on
            // which it has read no body.
            .filter(|line| !line.starts_with("date: ") && !line.starts_with("connection: "))
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

/// The headers of answers that differ, by the manual.
fn documented() -> BTreeSet<&'static str> {
    let page = include_str!("../../docs/gate.md");
    let (_, rows) = page.split_once("| header of an answer |").unwrap();
    let rows = rows
        .lines()
        .skip(2)
        .map_while(|row| row.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap()).collect()
}

/// Asserts that both are one answer but for headers, whose names are added to `differing`.
fn compare(what: &str, direct: &Answer, through: &Answer, differing: &mut BTreeSet<String>) {
    assert_eq!(through.exit, direct.exit, "{what}");
    assert_eq!(through.status, direct.status, "{what}");
    assert!(through.body == direct.body, "another body: {what}");
    let [ours, theirs] = [through, direct].map(|answer| BTreeSet::from_iter(&answer.headers));
    for line in ours.symmetric_difference(&theirs) {
        let (name, value) = line.split_once(": ").unwrap();
        assert!(!value.is_empty(), "{what}: {name}");
        let known = documented();
        let known = known.iter().find(|it| it.eq_ignore_ascii_case(name));
        let known = known.unwrap_or_else(|| panic!("{what}: {through:?}, and direct {direct:?}"));
        differing.insert((*known).to_owned());
    }
}

/// The answer with the same in the place of this repository's name, an upload and the state of one as any other has.
fn alike(mut answer: Answer, name: &str) -> Answer {
    let upload = regex::Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
    let state = regex::Regex::new("_state=[^&\"]+").unwrap();
    let texts = answer.headers.iter_mut().chain([&mut answer.body]);
    for text in texts.filter(|text| !text.starts_with("x-request-id")) {
        let same = state.replace_all(text, "_state=STATE");
        *text = upload.replace_all(&same, "UPLOAD").replace(name, "NAME");
    }
    answer
}

/// What a registry answers to one who writes to this repository.
fn writes(
    name: &str,
    image: &Image,
    ask: impl Fn(&str, &[&str]) -> Answer,
) -> Vec<(&'static str, Answer)> {
    let layout = image.layout();
    let layer = layout.layers().remove(0);
    let data = format!("@{}", layout.blob_file(&layer).display());
    let manifest = layout.manifest_digest();
    let manifest_file = format!("@{}", layout.blob_file(&manifest).display());
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
    let bytes = "Content-Type: application/octet-stream";
    let none = format!("sha256:{}", "0".repeat(64));
    let base = format!("/v2/{name}");
    let uploads = format!("{base}/blobs/uploads/");
    let by_tag = format!("{base}/manifests/1");
    let mut answers = Vec::new();
    let mut say = |what, path: &str, options: &[&str]| -> String {
        let options = [options, &["--header", "Expect:"]].concat();
        let answer = ask(path, &options);
        let location = answer.headers.iter().find_map(|line| {
            let uri: http::Uri = line.strip_prefix("location: ")?.parse().unwrap();
            Some(uri.path_and_query()?.to_string())
        });
        answers.push((what, answer));
        location.unwrap_or_default()
    };
    let post = ["--request", "POST"];
    let upload = say("a begun upload", &uploads, &post);
    let patch = [
        "--request",
        "PATCH",
        "--header",
        bytes,
        "--data-binary",
        &data,
    ];
    let upload = say("a part of an upload", &upload, &patch);
    say("how far an upload is", &upload, &[]);
    let skipping = [&patch[..], &["--header", "Content-Range: 99999-99999"]].concat();
    say("a part that leaves one out", &upload, &skipping);
    let put = ["--request", "PUT"];
    say(
        "the end of an upload",
        &format!("{upload}&digest={layer}"),
        &put,
    );
    say("an upload that has ended", &upload, &[]);
    let upload = say("another upload", &uploads, &post);
    let wrong = format!("{upload}&digest={none}");
    say("an upload of another digest", &wrong, &put);
    let upload = say("a third upload", &uploads, &post);
    say(
        "an upload that is given up",
        &upload,
        &["--request", "DELETE"],
    );
    let whole = [&post[..], &["--header", bytes, "--data-binary", &data]].concat();
    say(
        "an upload at once",
        &format!("{uploads}?digest={layer}"),
        &whole,
    );
    for digest in layout.layers().into_iter().chain([layout.config()]) {
        let mount = format!("{uploads}?mount={digest}&from=lib/busybox");
        say("a mount", &mount, &post);
    }
    let mount = format!("{uploads}?mount={none}&from=lib/busybox");
    say("a mount of nothing", &mount, &post);
    let manifest_put = ["--request", "PUT", "--header", kind, "--data-binary"];
    let wrong = [&manifest_put[..], &["{}"]].concat();
    say("no manifest", &by_tag, &wrong);
    let whole = [&manifest_put[..], &[&*manifest_file]].concat();
    say("a manifest", &by_tag, &whole);
    let by_digest = format!("{base}/manifests/{manifest}");
    let accept = kind.replace("Content-Type", "Accept");
    say(
        "what was written",
        &by_digest,
        &["--head", "--header", &accept],
    );
    say(
        "its referrers",
        &format!("{base}/referrers/{manifest}"),
        &[],
    );
    let delete = ["--request", "DELETE"];
    for (what, path) in [
        ("a manifest that is deleted", &by_digest),
        ("a manifest that is gone", &by_digest),
        ("a blob that is deleted", &format!("{base}/blobs/{layer}")),
        ("a blob that is not there", &format!("{base}/blobs/{none}")),
        ("a tag that is deleted", &by_tag),
    ] {
        say(what, path, &delete);
    }
    answers
}

#[test]
fn each_answer_of_the_registry_is_the_clients_but_for_the_headers_that_the_manual_lists() {
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
    let directly = |path: &str, options: &[&str]| {
        let mut curl = Command::new(tool("curl", "curl"));
        curl.args(["--silent", "--show-error", "--max-time", "60"]);
        Answer::of(curl.arg(format!("{}{path}", registry.url())), options)
    };
    let through = |path: &str, options: &[&str]| {
        let answer = Answer::of(&mut curl(&gate, gate.ci(), path), options);
        let ids = answer.headers.iter();
        let ids = ids.filter(|line| line.starts_with("x-request-id: "));
        assert_eq!(ids.count(), 1, "{path} {options:?}");
        answer
    };
    let mut differing = BTreeSet::new();
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
        let what = format!("{path} {options:?}");
        let (direct, through) = (directly(path, &options), through(path, &options));
        compare(&what, &direct, &through, &mut differing);
    }
    let names = ["lib/direct", "lib/through"];
    let direct = writes(names[0], &image, directly);
    let through = writes(names[1], &image, through);
    assert_eq!(direct.len(), through.len());
    let mut statuses = BTreeSet::new();
    for ((what, direct), (_, through)) in direct.into_iter().zip(through) {
        let (mut direct, mut through) = (alike(direct, names[0]), alike(through, names[1]));
        statuses.insert(direct.status.clone());
        compare(what, &direct, &through, &mut differing);
        // An upload goes on by the gate, wherever the registry believes itself to be.
        let [theirs, ours] = [&mut direct, &mut through].map(|answer| answer.take("location"));
        let whole = ours.map(|path| format!("{}{path}", registry.url()));
        assert_eq!(whole, theirs, "{what}");
    }
    assert!(statuses.len() > 5, "{statuses:?}");
    assert_eq!(Vec::from_iter(&differing), Vec::from_iter(documented()));
}
