//! The machine and the versions of what is compared.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

/// A table of both.
pub(crate) fn table() -> String {
    let mut table = String::from("| | |\n| --- | --- |\n");
    let cpus = available_parallelism().map_or(0, usize::from);
    let rows = [
        ("processor", Some(format!("{}, {cpus} CPUs", processor()))),
        ("system", first_line("uname", &["-sr"])),
        ("portcullis", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("Rust", first_line("rustc", &["-V"])),
        ("nginx", first_line("nginx", &["-v"])),
        ("HAProxy", first_line("haproxy", &["-v"])),
        ("OpenSSL", first_line("openssl", &["version"])),
    ];
    for (name, value) in rows {
        let value = value.unwrap_or_else(|| "not installed".to_owned());
        writeln!(table, "| {name} | {value} |").expect("writing to a string cannot fail");
    }
    table
}

fn processor() -> String {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.unwrap_or_else(|| "unknown".to_owned())
}

/// The first line that a program writes, whichever way.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&both).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}
