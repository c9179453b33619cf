//! `portcullisctl install-hosts`: containerd's hosts.toml.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::Parser;

use crate::install_hosts::InstallHosts;
use crate::pki::{Ca, Files};

#[derive(Parser)]
struct Ctl {
    #[command(flatten)]
    install: InstallHosts,
}

fn install(directory: &Path, more: &[&str]) -> Result<bool, String> {
    let directory = directory.to_str().unwrap();
    let arguments = ["portcullisctl", "--directory", directory];
    let parsed = Ctl::try_parse_from(arguments.iter().chain(more));
    let parsed = parsed.map_err(|error| error.to_string())?;
    parsed.install.run().map_err(|error| error.to_string())
}

const SERVER: [&str; 2] = ["--server", "https://10.0.0.7:30443"];

#[test]
fn what_containerd_reads_names_the_gate_its_ca_and_the_nodes_certificate() {
    let files = Files::new();
    let pem = Ca::new("gates").pem;
    let ca = files.put("ca.crt", &pem);
    let certs = files.path("certs.d");
    let more = [
        "--ca",
        ca.to_str().unwrap(),
        "--client",
        "/var/lib/kubelet/pki/kubelet-client-current.pem",
        "--host-directory",
        "/etc/containerd/certs.d",
    ];
    assert_eq!(install(&certs, &[&SERVER[..], &more].concat()), Ok(true));
    let file = certs.join("_default/hosts.toml");
    let text = fs::read_to_string(&file).unwrap();
    let hosts: toml::Table = text.parse().unwrap();
    let host = &hosts["host"]["https://10.0.0.7:30443"];
    assert_eq!(host["dial_timeout"].as_str(), Some("200ms"));
    assert_eq!(
        host["ca"].as_str(),
        Some("/etc/containerd/certs.d/_portcullis/ca.crt")
    );
    assert_eq!(
        host["client"].as_str(),
        Some("/var/lib/kubelet/pki/kubelet-client-current.pem")
    );
    let can = host["capabilities"].as_array().unwrap();
    assert_eq!(can.len(), 2, "{text}");
    let copied = fs::read_to_string(certs.join("_portcullis/ca.crt"));
    assert_eq!(copied.unwrap(), pem);
    // What is there already is not written again.
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(install(&certs, &[&SERVER[..], &more].concat()), Ok(true));
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);

    assert_eq!(install(&certs, &["--remove"]), Ok(true));
    assert_eq!(fs::read_dir(&certs).unwrap().count(), 0);
}

#[test]
fn files_of_others_are_left_alone() {
    let files = Files::new();
    let certs = files.path("certs.d");
    let folder = certs.join("docker.io");
    fs::create_dir_all(&folder).unwrap();
    let theirs = "server = \"https://registry-1.docker.io\"\n";
    fs::write(folder.join("hosts.toml"), theirs).unwrap();
    fs::write(folder.join("their.crt"), "theirs").unwrap();
    let registries = [&SERVER[..], &["--registry", "docker.io"]].concat();
    let now = || fs::read_to_string(folder.join("hosts.toml")).unwrap();

    let error = install(&certs, &registries).unwrap_err();
    assert!(
        error.contains("docker.io/hosts.toml") && error.contains("--replace"),
        "{error}"
    );
    assert_eq!(now(), theirs);
    assert_eq!(
        install(&certs, &["--remove", "--registry", "docker.io"]),
        Ok(true)
    );
    assert_eq!(now(), theirs);

    // Put aside, ours once or more often, and put back.
    let replaced = [&registries[..], &["--replace"]].concat();
    for _ in 0..2 {
        assert_eq!(install(&certs, &replaced), Ok(true));
        assert!(now().contains("10.0.0.7"));
    }
    assert_eq!(
        install(&certs, &["--remove", "--registry", "docker.io"]),
        Ok(true)
    );
    assert_eq!(now(), theirs);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn a_credential_is_for_root_alone_and_what_is_none_is_an_error_that_does_not_say_it() {
    let files = Files::new();
    let certs = files.path("certs.d");
    let secret = files.put("authorization", "Bearer hunter2-hunter2\n");
    let more = ["--authorization-file", secret.to_str().unwrap()];
    let all = [&SERVER[..], &more].concat();
    assert_eq!(install(&certs, &all), Ok(true));
    let file = certs.join("_default/hosts.toml");
    let hosts: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
    let header = &hosts["host"]["https://10.0.0.7:30443"]["header"];
    assert_eq!(
        header["Authorization"].as_str(),
        Some("Bearer hunter2-hunter2")
    );
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    files.put("authorization", "Bearer hunter2\nX: y");
    let error = install(&certs, &all).unwrap_err();
    assert!(
        error.contains("authorization") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn an_interval_without_a_pause_is_an_error() {
    let files = Files::new();
    let certs = files.path("certs.d");
    for interval in ["0s", "1ms", "soon"] {
        let more = [&SERVER[..], &["--interval", interval]].concat();
        let error = install(&certs, &more).unwrap_err();
        assert!(error.contains("--interval"), "{error}");
    }
    assert!(!certs.exists());
}

#[test]
fn what_is_no_address_or_registry_is_an_error() {
    let files = Files::new();
    let certs = files.path("certs.d");
    for (arguments, said) in [
        (&["--server", "10.0.0.7:30443"][..], "no address"),
        (&["--server", "https://10.0.0.7/v2"], "no address"),
        (&["--server", "https://a:b@10.0.0.7"], "no address"),
        (&["--server", "https://10.0.0.7:99999"], "no address"),
        (&["--server", "https://10.0.0.7:0"], "no address"),
        (&["--server", "https://10.0.0.7:"], "no address"),
        (&["--server", "https://a", "--registry", "a:b"], "a host"),
        (
            &["--server", "https://a", "--registry", "a:99999"],
            "a host",
        ),
        (&["--server", "https://a", "--registry", "a]"], "a host"),
        (&["--server", "https://a", "--registry", ""], "a host"),
        (&["--registry", "docker.io"], "--server"),
        (&["--server", "https://a", "--registry", ".."], "a host"),
        (&["--server", "https://a", "--registry", "a/b"], "a host"),
        (
            &["--server", "https://a", "--registry", "_portcullis"],
            "a host",
        ),
    ] {
        let error = install(&certs, arguments).unwrap_err();
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
    assert!(!certs.exists());
}

/// What is copied beside is for everybody on the node to read, and what is sent must reach the gate alone.
#[test]
fn only_certificates_are_copied_and_no_credential_goes_in_the_clear() {
    let files = Files::new();
    let certs = files.path("certs.d");
    let ca = Ca::new("gates");
    let leaf = ca.server(&["gate"]);
    let key = files.put("both.pem", ca.pem.clone() + &leaf.key_pem);
    let der = files.put("ca.der", &ca.der);
    let text = files.put("text", "a CA");
    let cut = files.put("cut.pem", &ca.pem[..ca.pem.len() - 30]);
    for (given, said) in [
        (key.to_str().unwrap(), "a private key"),
        (der.to_str().unwrap(), "no PEM file of certificates"),
        (text.to_str().unwrap(), "no PEM file of certificates"),
        (cut.to_str().unwrap(), "no PEM file of certificates"),
        ("/dev/zero", "/dev/zero: "),
        (files.directory.path().to_str().unwrap(), ": "),
    ] {
        let error = install(&certs, &[&SERVER[..], &["--ca", given]].concat()).unwrap_err();
        assert!(error.contains(given) && error.contains(said), "{error}");
        assert!(!error.contains("PRIVATE"), "{error}");
    }
    let secret = files.put("authorization", "Bearer hunter2-hunter2\n");
    let with = |server| {
        let secret = ["--authorization-file", secret.to_str().unwrap()];
        install(&certs, &[&["--server", server][..], &secret].concat())
    };
    for server in ["http://10.0.0.7:30443", "http://gate", "http://[fd00::1]"] {
        let error = with(server).unwrap_err();
        assert!(
            error.contains("https") && !error.contains("hunter2"),
            "{error}"
        );
    }
    assert!(!certs.exists());
    for server in ["http://127.0.0.1:30443", "http://[::1]", "https://gate"] {
        assert_eq!(with(server), Ok(true));
    }
}
