//! The programs of `examples`, as an operator starts them.
#![cfg(all(
    feature = "config",
    feature = "metrics",
    feature = "serve",
    feature = "axum",
    feature = "axum-server",
    feature = "aws-lc-rs"
))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

fn program(name: &str) -> Command {
    // A test's own program is in `target/<profile>/deps`.
    let mut file = std::env::current_exe().unwrap();
    file.pop();
    file.pop();
    file.extend(["examples", name]);
    assert!(file.exists(), "cargo build --all-features --examples");
    Command::new(file)
}

#[test]
fn a_program_whose_port_is_taken_ends_with_a_line_that_names_address_and_cause() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gate.toml");
    std::fs::write(&config, "[source]\nallow = [\"127.0.0.0/8\"]\n").unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (config, data) = (path(&config), path(folder.path()));
    let upstream = "http://127.0.0.1:1";
    for (name, more) in [
        ("axum", &[][..]),
        ("axum_server", &[]),
        ("hyper", &[]),
        ("mirror", &["--data", &data]),
        ("gate", &["--config", &config, "--upstream", upstream]),
    ] {
        let mut command = program(name);
        let output = command.args(["--listen", &address]).args(more).output();
        let output = output.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {error}");
        let last = error.lines().last().unwrap_or_default();
        assert!(last.starts_with(&format!("{name}: {address}: ")), "{error}");
        assert!(last.contains("Address already in use"), "{error}");
        assert!(!error.contains("Os {"), "{error}");
    }
}

#[tokio::test]
async fn the_error_of_a_port_that_is_taken_is_a_sentence_also_where_a_main_prints_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = portcullis::serve::bind(address).await.unwrap_err();
    let printed = format!("{error:?}");
    assert_eq!(printed, error.to_string());
    let start = format!("{address}: Address already in use");
    assert!(printed.starts_with(&start), "{printed}");
    assert!(printed.ends_with("choose another port"), "{printed}");
    assert!(portcullis::serve::bind("127.0.0.1:0").await.is_ok());
}
