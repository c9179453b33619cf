//! OpenSSL, by a C program of a page: a crate of it would make every build need its headers.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lists::Sample;

/// What its library takes.
pub(crate) struct OpenSsl {
    /// Milliseconds to read a list and verify its signature.
    pub(crate) load: f64,
    /// Milliseconds of the first look-up, which sorts the list.
    pub(crate) first: f64,
    /// Nanoseconds of each after it.
    pub(crate) hit: f64,
    pub(crate) miss: f64,
    /// Bytes an entry.
    pub(crate) kept: f64,
}

/// `None` without a C compiler or the library's headers.
pub(crate) fn cost(sample: &Sample) -> Option<OpenSsl> {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/crl/openssl.c");
    let compiled = Command::new("cc")
        .args(["-O2", "-o", "openssl"])
        .arg(source)
        .arg("-lcrypto")
        .current_dir(directory)
        .stderr(Stdio::null())
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        return None;
    }
    for (name, content) in [
        ("ca.der", &*sample.ca),
        ("crl.der", &sample.der),
        ("revoked", sample.revoked.as_flattened()),
        ("good", sample.good.as_flattened()),
    ] {
        fs::write(directory.join(name), content).unwrap();
    }
    let output = Command::new(directory.join("openssl"))
        .args(["ca.der", "crl.der", "revoked", "good"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "openssl: {}", output.status);
    let text = String::from_utf8(output.stdout).unwrap();
    let figures: Vec<f64> = text
        .split_whitespace()
        .map(|figure| figure.parse().unwrap())
        .collect();
    let [load, first, hit, miss, kept] = figures[..] else {
        panic!("{text}");
    };
    Some(OpenSsl {
        load,
        first,
        hit,
        miss,
        kept: kept / sample.entries as f64,
    })
}
