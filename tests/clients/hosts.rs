//! `portcullisctl install-hosts --watch`, beside a containerd that pulls by what it writes.

use std::fs;
use std::process::Command;

use crate::support::commands::curl_push;
use crate::support::containerd::Containerd;
use crate::support::gate::{CI_TOKEN, Demands, READER_TOKEN};
use crate::support::image::Image;
use crate::support::mirror::example;
use crate::support::pki::replace;
use crate::support::process::Daemon;
use crate::support::wait::until;

#[test]
fn what_is_watched_is_written_again_when_it_was_cleared_changed_or_made_of_a_file_that_changed() {
    let gate = Demands::token().start();
    let image = Image::small();
    let ci = gate.ci().without_pair();
    for name in ["lib/busybox:1", "lib/busybox:2"] {
        curl_push(&gate, ci, &image, name);
    }
    let containerd = Containerd::start();
    let authorization = gate.keys.folder.join("authorization");
    let shown = |token: &str| replace(&authorization, format!("Bearer {token}").as_bytes());
    shown(CI_TOKEN);
    let hosts = containerd.hosts_dir();
    let mut command = Command::new(example("portcullisctl"));
    command.args(["install-hosts", "--watch", "--interval", "20ms"]);
    command.args(["--registry", "docker.io", "--server", &gate.mirror.url()]);
    // A busy machine is no reason to go on without the gate.
    command
        .args(["--dial-timeout", "30s", "--directory"])
        .arg(&hosts);
    command.arg("--ca").arg(&gate.keys.ca);
    command.arg("--authorization-file").arg(&authorization);
    let mut watching = Daemon::start("portcullisctl", &mut command);
    let file = hosts.join("docker.io/hosts.toml");
    let until_has = |part: &str| {
        until(&format!("a hosts.toml with {part}"), || {
            let text = fs::read_to_string(&file).unwrap_or_default();
            text.contains(part).then_some(text)
        })
    };
    let first = until_has(CI_TOKEN);
    containerd.pull("docker.io/lib/busybox:1").succeeded();
    let pulled = |credential: &str| {
        gate.mirror.logged("a pull by containerd", |entry| {
            entry.text("user_agent.original").contains("containerd")
                && entry.text("principal").contains(credential)
                && entry.status() == 200
        });
    };
    pulled("ci");

    // Cleared at once, as by an upgrade of the node.
    fs::rename(&hosts, hosts.with_extension("before")).unwrap();
    assert_eq!(until_has(CI_TOKEN), first);
    // Of our own, and changed.
    fs::write(&file, first.replace(CI_TOKEN, "another")).unwrap();
    assert_eq!(until_has(CI_TOKEN), first);
    // Made of a file that changed.
    shown(READER_TOKEN);
    until_has(READER_TOKEN);
    containerd.pull("docker.io/lib/busybox:2").succeeded();
    pulled("reader");

    // What another has written stays, and so does the program.
    let theirs = "server = \"https://registry-1.docker.io\"\n";
    fs::write(&file, theirs).unwrap();
    until("a complaint", || {
        let said = watching.err().all();
        let line = said
            .iter()
            .find(|line| line.contains("another has written it"));
        line.cloned()
    });
    assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
    assert!(watching.is_running());
    fs::remove_file(&file).unwrap();
    until_has(READER_TOKEN);
    for line in watching.err().all() {
        assert!(
            !line.contains(READER_TOKEN) && !line.contains(CI_TOKEN),
            "{line}"
        );
    }
}
