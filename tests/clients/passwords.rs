//! Users and passwords that are not ASCII.

use std::fs;

use crate::support::commands::{
    curl, curl_push, host, podman_pull, skopeo_inspect, skopeo_pulled, skopeo_push,
};
use crate::support::containerd::Containerd;
use crate::support::gate::{Demands, Gate, Shown};
use crate::support::image::Image;
use crate::support::process::run;

const USER: &str = "jürgen";
const PASSWORD: &str = "pässwörd-日本";
const SHOWN: Shown<'static> = Shown {
    token: Some((USER, PASSWORD)),
    pair: None,
};

/// With an htpasswd file of one user, who may do everything.
fn gate() -> (Gate, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people");
    let hash = bcrypt::hash(PASSWORD, 4).unwrap();
    fs::write(&file, format!("{USER}:{hash}\n")).unwrap();
    let more = format!(
        "[[auth.htpasswd]]\nfile = \"{}\"\ngroups = [\"people\"]\n\
         [[policy.rules]]\nname = \"people\"\nwho = [\"group:people\"]\nactions = [\"any\"]\n\
         repositories = [\"**\"]\n",
        file.display()
    );
    let demands = Demands {
        preset: "registry",
        more,
        ..Demands::token()
    };
    (demands.start(), folder)
}

fn is_let_in(gate: &Gate, path: &str) {
    let entry = gate.mirror.logged("a request", |entry| {
        entry.text("url.path").ends_with(path) && entry.text("principal").contains(USER)
    });
    assert!(entry.status() < 300, "{entry:?}");
}

#[test]
fn skopeo_and_podman_show_a_password_in_utf_8() {
    let (gate, _folder) = gate();
    let image = Image::small();
    skopeo_push(&gate, SHOWN, &image, "lib/busybox:1").succeeded();
    skopeo_inspect(&gate, SHOWN, "lib/busybox:1").succeeded();
    let pulled = skopeo_pulled(&gate, SHOWN, "lib/busybox:1");
    image.layout().assert_same(&pulled);
    podman_pull(&gate, SHOWN, "lib/busybox:1").succeeded();
    is_let_in(&gate, "/manifests/1");
    let wrong = SHOWN.with_token(USER, "passwort-日本");
    let said = skopeo_inspect(&gate, wrong, "lib/busybox:1");
    said.failed_saying(&["unauthorized"]);
}

#[test]
fn containerd_shows_a_password_in_utf_8() {
    let (gate, _folder) = gate();
    let ci = gate.ci().without_pair();
    curl_push(&gate, ci, &Image::small(), "lib/busybox:1");
    let containerd = Containerd::start();
    let hosts = [host(&gate, SHOWN.without_token())];
    containerd.set_hosts("registry.example", &gate.mirror.url(), &hosts);
    let user = format!("{USER}:{PASSWORD}");
    let said = containerd.pull_with("registry.example/lib/busybox:1", &["--user", &user]);
    said.succeeded();
    is_let_in(&gate, "/manifests/1");
}

#[test]
fn curl_shows_a_password_in_utf_8() {
    let (gate, _folder) = gate();
    let user = format!("{USER}:{PASSWORD}");
    for way in ["--basic", "--anyauth"] {
        let mut curl = curl(&gate, SHOWN.without_token(), "/v2/");
        run(curl.args(["--fail-with-body", way, "--user", &user])).succeeded();
    }
    is_let_in(&gate, "/v2/");
}
