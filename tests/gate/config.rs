//! The example configuration is one that works.

use std::net::SocketAddr;
use std::path::Path;

use portcullis::Guard;
use portcullis::config::Config;

use crate::pki::{Ca, Files};
use crate::support::{CI, PEER};

const EXAMPLE: &str = include_str!("../../examples/gate/gate.toml");

/// The example with its files beside it.
fn laid_out(text: &str) -> (Files, Config) {
    let files = Files::new();
    let ca = Ca::new("cluster");
    let server = ca.server(&["localhost"]);
    files.put("server.crt", &server.pem);
    files.put("server.key", &server.key_pem);
    files.put("clients-ca.crt", &ca.pem);
    files.put("clients.crl", ca.crl(1, &[]).pem().unwrap());
    files.put("ci.token", CI);
    files.put("spegel.token", PEER);
    let file = files.put("gate.toml", text);
    let config = Config::load(file).unwrap();
    (files, config)
}

#[tokio::test]
async fn the_example_configuration_is_enforced_as_it_says() {
    let (_files, config) = laid_out(EXAMPLE);
    let guard = Guard::from_config(&config).unwrap();
    assert!(guard.acceptor().is_some());
    let address: SocketAddr = "0.0.0.0:5443".parse().unwrap();
    let report = guard.report_on(address).to_string();
    for said in ["ci", "nodes"] {
        assert!(EXAMPLE.contains(said) && report.contains(said), "{report}");
    }
}

/// What is commented out is valid too.
#[test]
fn every_line_of_the_example_that_is_commented_out_is_understood() {
    let text: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") || setting.starts_with('[') => setting,
            _ => line,
        })
        .collect();
    assert_ne!(text.join("\n"), EXAMPLE.trim_end());
    let (_files, config) = laid_out(&text.join("\n"));
    Guard::from_config(&config).unwrap();
}

#[test]
fn the_programs_help_names_the_example() {
    let cli = include_str!("../../examples/gate/cli.rs");
    assert!(cli.contains("examples/gate/gate.toml"));
    assert!(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples/gate/gate.toml")
            .is_file()
    );
}
