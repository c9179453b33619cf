//! `portcullisctl verify`, as it is built.
#![cfg(all(feature = "config", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod pki;

use std::process::Command;

use pki::{Ca, Files};
use serde_json::Value;

/// A CA under a root, its node 7, and its list that revokes node 8.
struct World {
    files: Files,
}

impl World {
    fn new() -> Self {
        let files = Files::new();
        let root = Ca::new("Root");
        let sub = root.sub("Sub", |params| params.serial_number = Some(99_u64.into()));
        files.put("root.pem", &root.pem);
        files.put("sub.der", &sub.der);
        let lists = root.crl(1, &[]).pem().unwrap() + &sub.crl(2, &[8]).pem().unwrap();
        files.put("crl.pem", lists);
        for serial in [7_u64, 8] {
            let leaf = sub.client_with("node", |params| params.serial_number = Some(serial.into()));
            files.put(&format!("{serial}.pem"), &leaf.pem);
        }
        Self { files }
    }

    /// The exit code, standard output and standard error of `verify` with these arguments.
    fn verify(&self, arguments: &[&str]) -> (i32, String, String) {
        // A test's own program is in `target/<profile>/deps`.
        let mut program = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        program.extend(["examples", "portcullisctl"]);
        let output = Command::new(program)
            .current_dir(self.files.directory.path())
            .args(["verify", "--ca", "root.pem", "--chain", "sub.der"])
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

#[test]
fn a_good_certificate_is_told_with_the_lists_that_say_so() {
    let world = World::new();
    let (code, out, _) = world.verify(&["--crl", "crl.pem", "7.pem"]);
    assert_eq!(code, 0);
    for line in [
        "good: not revoked",
        "CN=node by CN=Sub: not revoked",
        "  CRL of CN=Sub (complete), number 02, from ",
        "CN=Sub by CN=Root: not revoked",
        "  CRL of CN=Root (complete), number 01, from ",
    ] {
        assert!(
            out.lines().any(|found| found.starts_with(line)),
            "{line}: {out}"
        );
    }
    let (code, out, _) = world.verify(&["--crl", "crl.pem", "--json", "7.pem"]);
    assert_eq!(code, 0);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["good"], true);
    let lists = told["path"][0]["decided_by"].as_array().unwrap();
    assert_eq!(lists.len(), 1);
    assert_eq!(lists[0]["issuer"], "CN=Sub");
    assert_eq!(lists[0]["number"], "02");
    assert!(lists[0]["next_update"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_revoked_certificate_is_told_with_the_list_that_revokes_it() {
    let world = World::new();
    let (code, out, _) = world.verify(&["--crl", "crl.pem", "8.pem"]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with("refused: certificate 08 was revoked at "),
        "{out}"
    );
    assert!(out.contains("(keyCompromise) by CRL 02"), "{out}");
    assert!(
        out.contains("\n  CRL of CN=Sub (complete), number 02"),
        "{out}"
    );
}

#[test]
fn at_another_time_the_lists_say_something_else() {
    let world = World::new();
    let later = time::OffsetDateTime::now_utc() + time::Duration::days(2);
    let later = later
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let (code, out, _) = world.verify(&["--crl", "crl.pem", "--at", &later, "7.pem"]);
    assert_eq!(code, 1);
    assert!(out.contains("past its next update"), "{out}");
    assert!(!out.contains("CRL of"), "none decides: {out}");
}

#[test]
fn without_the_issuers_list_nothing_is_known() {
    let world = World::new();
    let other = Ca::new("Other").crl(1, &[]).pem().unwrap();
    world.files.put("other.pem", other);
    let (code, out, _) = world.verify(&["--crl", "other.pem", "7.pem"]);
    assert_eq!(code, 1);
    assert!(out.contains("no CRL of its issuer covers it"), "{out}");
}

#[test]
fn a_compressed_list_is_read() {
    use std::io::Write;
    let world = World::new();
    let lists = std::fs::read(world.files.path("crl.pem")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&lists).unwrap();
    world.files.put("crl.pem.gz", gzip.finish().unwrap());
    assert_eq!(world.verify(&["--crl", "crl.pem.gz", "7.pem"]).0, 0);
    assert_eq!(world.verify(&["--crl", "crl.pem.gz", "8.pem"]).0, 1);
}

#[test]
fn bad_input_is_neither_good_nor_refused() {
    let world = World::new();
    world.files.put("noise", "noise");
    for arguments in [
        &["--crl", "missing", "7.pem"][..],
        &["--crl", "noise", "7.pem"],
        &["--crl", "crl.pem", "noise"],
        &["--crl", "crl.pem", "missing"],
        &["--crl", "crl.pem", "--at", "yesterday", "7.pem"],
        &["7.pem"],
        &["--crl", "crl.pem"],
    ] {
        let (code, out, error) = world.verify(arguments);
        assert_eq!(code, 2, "{arguments:?}: {out}{error}");
        assert!(out.is_empty() && !error.is_empty(), "{arguments:?}: {out}");
    }
}
