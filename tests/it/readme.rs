//! That the README tells the truth.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashSet;
use std::fs;
use std::path::Path;

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let rows: Vec<_> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| threat |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= 10, "{rows:?}");

    let mut tests = HashSet::new();
    collect(&root.join("tests"), "", &mut tests);
    for row in rows {
        let proofs = row.rsplit('|').nth(1).unwrap();
        let names: Vec<_> = proofs.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test proves: {row}");
        for name in names {
            assert!(tests.contains(name), "there is no test {name}");
        }
    }
}

/// The names of the tests in the files under `folder`, whose own is `prefix`: `program module::test`, or
/// `program test` of a program in one file.
fn collect(folder: &Path, prefix: &str, tests: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy();
        let between = if prefix.is_empty() { " " } else { "::" };
        let own = format!("{prefix}{name}{between}");
        if path.is_dir() {
            collect(&path, &own, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            tests.extend(names(&text).map(|name| format!("{own}{name}")));
        }
    }
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
            return None;
        }
        let declared = line.trim_start_matches("async ").strip_prefix("fn ")?;
        let name = declared.split('(').next()?;
        std::mem::take(&mut is_test).then_some(name)
    })
}
