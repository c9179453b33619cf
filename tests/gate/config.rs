//! The example configuration, and the flags as the reference has them.

use std::fs::{Permissions, set_permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use clap::{Args as _, CommandFactory as _};
use portcullis::Guard;
use portcullis::config::Config;

use crate::cli::Arguments;
use crate::install_hosts::InstallHosts;
use crate::node_cli;
use crate::pki::{Ca, Files};
use crate::support::{CI, PEER};

const EXAMPLE: &str = include_str!("../../examples/gate/gate.toml");
const REFERENCE: &str = include_str!("../../docs/gate.md");
const SPEGEL: &str = include_str!("../../docs/spegel.md");
const KUBERNETES: &str = include_str!("../../docs/kubernetes.md");

/// What a gate with this configuration reports, the files that it names beside it.
fn report(text: &str) -> String {
    let files = Files::new();
    let ca = Ca::new("kubernetes");
    let server = ca.server(&["localhost"]);
    for (name, text) in [
        ("server.crt", &server.pem),
        ("server.key", &server.key_pem),
        ("clients-ca.crt", &ca.pem),
        ("clients.crl", &ca.crl(1, &[]).pem().unwrap()),
        ("ci.token", &CI.to_owned()),
        ("spegel.token", &PEER.to_owned()),
    ] {
        set_permissions(files.put(name, text), Permissions::from_mode(0o600)).unwrap();
    }
    let config = Config::load(files.put("gate.toml", text)).unwrap();
    let guard = Guard::from_config(&config).unwrap();
    assert!(guard.acceptor().is_some());
    let address: SocketAddr = "0.0.0.0:5443".parse().unwrap();
    guard.report_on(address).to_string()
}

fn warnings(report: &str) -> Vec<&str> {
    let lines = report.lines();
    lines.filter(|line| line.starts_with("warning: ")).collect()
}

#[tokio::test]
async fn the_example_configuration_is_enforced_and_has_one_warning() {
    let report = report(EXAMPLE);
    for enforced in ["connections are TLS", "revoked", "policy of 2 rules"] {
        assert!(report.contains(enforced), "{report}");
    }
    let warnings = warnings(&report);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("[limits]"), "{warnings:?}");
}

#[tokio::test]
async fn what_is_commented_out_in_the_example_works_too() {
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
        Some(setting) if setting.contains(" = ") || setting.starts_with('[') => setting,
        _ => line,
    });
    let text: Vec<&str> = lines.collect();
    let report = report(&text.join("\n"));
    assert!(!report.contains("there is no [limits]"), "{report}");
}

#[test]
fn the_reference_has_each_flag_with_its_default() {
    let rows: Vec<&str> = REFERENCE
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .collect();
    let command = Arguments::command();
    let flags: Vec<_> = command
        .get_arguments()
        .filter(|flag| flag.get_long().is_some())
        .collect();
    assert_eq!(rows.len(), flags.len());
    for flag in flags {
        let name = format!("| `--{}", flag.get_long().unwrap());
        let row = rows.iter().find(|row| {
            row.starts_with(&format!("{name} ")) || row.starts_with(&format!("{name}`"))
        });
        let row = row.unwrap_or_else(|| panic!("there is no {name}"));
        assert_eq!(flag.is_required_set(), row.contains("Required"), "{row}");
        // The value and the default of a switch are not written.
        if !flag.get_action().takes_values() {
            continue;
        }
        let value = flag.get_value_names().and_then(<[_]>::first).unwrap();
        assert!(row.starts_with(&format!("{name} {value}`")), "{row}");
        for default in flag.get_default_values() {
            let default = format!("| `{}` |", default.to_string_lossy());
            assert!(row.contains(&default), "{row}");
        }
    }
}

/// What the section `[program]` can have is in the error about a key that it cannot have.
#[test]
fn the_reference_has_each_key_of_the_section_and_no_other() {
    let mut keys = Vec::new();
    for (around, prefix) in [
        ("[program]\n", "program."),
        ("[[program.upstream]]\nurl = \"\"\n", "program.upstream[]."),
        (
            "[[program.listener]]\naddress = \"[::]:1\"\n",
            "program.listener[].",
        ),
        ("[program.egress]\n", "program.egress."),
    ] {
        let config = Config::from_toml(&format!("{around}no-such-key = 1\n"), "/").unwrap();
        let error = config.program::<crate::section::Program>().unwrap_err();
        let error = error.to_string();
        let (_, known) = error.split_once("expected one of ").unwrap();
        let known = known.split('`').skip(1).step_by(2);
        keys.extend(known.map(|key| format!("{prefix}{key}")));
    }
    // These have keys of their own.
    let tables = ["program.upstream", "program.listener", "program.egress"];
    keys.retain(|key| !tables.contains(&&**key));
    let rows = REFERENCE.lines().filter_map(|line| {
        let key = line.strip_prefix("| `program.")?;
        Some(format!("program.{}", key.split_once('`')?.0))
    });
    assert_eq!(rows.collect::<Vec<_>>(), keys);
}

/// A flag that the pages name is one that the program has.
#[test]
fn the_program_has_each_flag_that_the_pages_name() {
    let command = Arguments::command();
    let known: Vec<&str> = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .collect();
    let installs = InstallHosts::augment_args(clap::Command::new("install-hosts"));
    let node = node_cli::Arguments::command();
    let own = installs.get_arguments().chain(node.get_arguments());
    let own: Vec<&str> = own.filter_map(clap::Arg::get_long).collect();
    // Those of cargo, curl, kubectl, helm, the kubelet and other commands of portcullisctl.
    let others = [
        "release",
        "features",
        "example",
        "locked",
        "cacert",
        "cert",
        "name",
        "namespace",
        "pods",
        "port",
        "key",
        "bare",
        "output",
        "from-file",
        "filename",
        "no-hooks",
        "values",
        "kustomize",
        "raw",
        "image-credential-provider-bin-dir",
        "image-credential-provider-config",
    ];
    let others = [&others[..], &own].concat();
    for page in [REFERENCE, SPEGEL, KUBERNETES, EXAMPLE] {
        for rest in page.split("--").skip(1) {
            let end = rest.find(|sign: char| !sign.is_ascii_lowercase() && sign != '-');
            let name = rest[..end.unwrap_or(rest.len())].trim_end_matches('-');
            if !name.is_empty() {
                assert!(known.contains(&name) || others.contains(&name), "--{name}");
            }
        }
    }
}
