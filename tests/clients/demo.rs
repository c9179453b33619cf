//! The mirror as it starts with no arguments but where to put things.

use std::fs;
use std::process::Command;

use crate::lifetime::{ping, shows_its_next_certificate, wait_for};
use crate::support::commands::{skopeo_inspect, skopeo_pulled, skopeo_push};
use crate::support::gate::Demands;
use crate::support::image::Image;
use crate::support::mirror::{Mirror, example};
use crate::support::pki::replace;
use crate::support::process::{run, tool};
use crate::support::wait::until;

#[test]
fn the_curl_commands_that_it_prints_work_as_they_are() {
    let mirror = Mirror::start();
    for name in [
        "ca.crt",
        "server.crt",
        "server.key",
        "client.crt",
        "client.key",
        "revoked.crt",
        "revoked.key",
        "crl.pem",
        "token",
    ] {
        assert!(mirror.demo(name).is_file(), "{name}");
    }
    let is_curl = |line: &&String| line.starts_with("curl ");
    let printed = until("two curl commands", || {
        let printed = mirror.daemon.out().all();
        (printed.iter().filter(is_curl).count() == 2).then_some(printed)
    });
    let names = printed.iter().find(|line| line.starts_with("D=")).unwrap();
    tool("curl", "curl");
    for command in printed.iter().filter(is_curl) {
        let mut shell = Command::new(tool("sh", "dash"));
        let said = run(shell.args(["-c", &format!("{names}\n{command} --silent --fail")]));
        assert!(said.succeeded().out.contains("repositories"), "{command}");
    }
}

#[test]
fn its_revoked_certificate_is_revoked() {
    let mirror = Mirror::start();
    let mut curl = Command::new(tool("curl", "curl"));
    curl.args(["--silent", "--show-error", "--tls-max", "1.2", "--cacert"])
        .arg(mirror.demo("ca.crt"))
        .arg("--cert")
        .arg(mirror.demo("revoked.crt"))
        .arg("--key")
        .arg(mirror.demo("revoked.key"))
        .arg(format!("{}/v2/_catalog", mirror.url()));
    run(&mut curl).failed_saying(&["alert certificate revoked"]);
}

#[test]
fn skopeo_pushes_and_pulls_by_its_client_certificate() {
    let gate = Demands::demo().start();
    let shown = gate.ci().without_token();
    let image = Image::small();
    skopeo_push(&gate, shown, &image, "lib/busybox:1").succeeded();
    skopeo_inspect(&gate, shown, "lib/busybox:1").succeeded();
    image
        .layout()
        .assert_same(&skopeo_pulled(&gate, shown, "lib/busybox:1"));
}

#[test]
fn keys_that_are_there_are_kept_and_either_will_do() {
    let gate = Demands::demo().start();
    assert_eq!(ping(&gate, gate.ci().without_pair()), Some(200));
    assert_eq!(ping(&gate, gate.ci().without_token()), Some(200));
    let nothing = gate.ci().without_pair().without_token();
    assert_eq!(ping(&gate, nothing), Some(401));
}

#[test]
fn a_new_token_takes_hold_without_a_restart() {
    let gate = Demands::demo().start();
    let shown = gate.ci().without_pair();
    assert_eq!(ping(&gate, shown), Some(200));
    let new = "the-demos-next-9b1f0c7de42a68350d7fe19c4ba82653";
    replace(&gate.keys.folder.join("token"), new.as_bytes());
    wait_for(&gate, shown.with_token("demo", new), Some(200));
    assert_eq!(ping(&gate, shown), Some(401));
}

#[test]
fn a_new_crl_takes_hold_without_a_restart() {
    let gate = Demands::demo().start();
    let shown = gate.ci().without_token();
    assert_eq!(ping(&gate, shown), Some(200));
    gate.keys.pki.revoke(&[&gate.keys.revoked, &gate.keys.ci]);
    wait_for(&gate, shown, None);
    assert_eq!(ping(&gate, gate.ci().without_pair()), Some(200));
}

#[test]
fn a_new_server_certificate_takes_hold_without_a_restart() {
    shows_its_next_certificate(&Demands::demo().start());
}

#[test]
fn the_configuration_in_the_readme_is_sound() {
    let gate = Demands::demo().start();
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (toml, _) = rest.split_once("```").unwrap();
    let check = |text: &str| {
        let file = gate.keys.folder.join("gate.toml");
        fs::write(&file, text).unwrap();
        let mut mirror = Command::new(example("mirror"));
        run(mirror.arg("--check").arg("--config").arg(&file))
    };
    check(toml).succeeded();
    check(&toml.replace("preset", "presset")).failed_saying(&["gate.toml:2", "presset"]);
}
