//! The README's section for operators, followed word by word.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::support::image::Image;
use crate::support::mirror::example;
use crate::support::process::{run, tool};
use crate::support::upstream::Upstream;

const README: &str = include_str!("../../README.md");

/// The commands of a section, in their order.
fn commands(section: &str) -> String {
    let (_, rest) = README.split_once(&format!("## {section}\n")).unwrap();
    let text = rest.split("\n## ").next().unwrap();
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks.collect::<Vec<_>>().join("\n")
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_new_operator_gets_from_nothing_to_a_refused_and_an_allowed_pull() {
    let registry = Upstream::start();
    let image = Image::small();
    registry.push(&image, "library/busybox:1");
    registry.push(&image, "secret/busybox:1");
    let text = commands("In front of a registry that you have");
    let text = text
        .replace("http://127.0.0.1:5000", &registry.url())
        .replace("127.0.0.1:5443", &free_port());
    // The gate ends with the shell.
    let script = format!("set -eu\ntrap 'kill %1' EXIT\n{text}");
    let folder = tempfile::tempdir().unwrap();
    let programs = example("gate");
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", programs.parent().map_or("", to_str));
    let mut shell = Command::new(tool("bash", "bash"));
    shell
        .args(["-m", "-c", &script])
        .current_dir(&folder)
        .env("PATH", path);
    let said = run(&mut shell).succeeded();
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(
        lines.contains(&"enforced: callers must show a token"),
        "{said}"
    );
    let statuses = lines.iter().filter(|line| line.len() == 3);
    assert_eq!(
        statuses.collect::<Vec<_>>(),
        [&"401", &"200", &"403"],
        "{said}"
    );
}

fn to_str(path: &Path) -> &str {
    path.to_str().unwrap()
}
