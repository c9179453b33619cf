//! OpenSSL, by its command: a crate of it would make every build need its headers.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::lists::Sample;

/// What its command takes, less what it takes to start.
pub(crate) struct OpenSsl {
    /// Milliseconds to read a list and verify its signature.
    pub(crate) load: f64,
    /// Nanoseconds of the first look-up, which sorts the list. The command makes no other.
    pub(crate) first: f64,
}

/// `None` without the command.
pub(crate) fn cost(sample: &Sample) -> Option<OpenSsl> {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for (name, label, der) in [
        ("ca.pem", "CERTIFICATE", &*sample.ca),
        ("client.pem", "CERTIFICATE", &*sample.client),
        ("crl.pem", "X509 CRL", &*sample.der),
    ] {
        fs::write(directory.join(name), pem(label, der)).unwrap();
    }
    fs::write(directory.join("crl.der"), &sample.der).unwrap();
    let run = |arguments: &str| least(directory, arguments);
    let start = run("version")?;
    let load = run("crl -noout -CAfile ca.pem -inform DER -in crl.der")?;
    let verify = run("verify -crl_check -CAfile ca.pem -CRLfile crl.pem client.pem")?;
    Some(OpenSsl {
        load: load.saturating_sub(start).as_secs_f64() * 1e3,
        first: verify.saturating_sub(load).as_nanos() as f64,
    })
}

fn least(directory: &Path, arguments: &str) -> Option<Duration> {
    let mut least = Duration::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        let status = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok()?;
        least = least.min(began.elapsed());
        assert!(status.success(), "openssl {arguments}: {status}");
    }
    Some(least)
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
