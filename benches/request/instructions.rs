//! Instructions a request of a whole server process, counted by valgrind's callgrind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cases::{self, Log};
use crate::figures::Figures;
use crate::load::{Asked, Load, Wire};
use crate::process::Process;

const FEW: usize = 400;
// So many that the start does not matter: the entropy that aws-lc gathers then takes millions of instructions more or
// fewer each time.
const MANY: usize = 10_000;

/// Adds a row a case, over TLS.
///
/// # Panics
/// If valgrind is not there: instructions were asked for.
pub(crate) fn rows(load: &Load, files: &Path, figures: &mut Figures) {
    let mut bare = 0.0;
    for case in cases::all() {
        if case.log == Log::Metrics || case.name.contains("without certificates") {
            continue;
        }
        let few = run(load, files, case.name, FEW);
        let many = run(load, files, case.name, MANY);
        let each = (many - few) as f64 / (MANY - FEW) as f64;
        let name = format!("instructions: {}", case.name);
        if case.name == cases::BARE {
            bare = each;
            figures.row(name, "/request", each);
            continue;
        }
        let row = figures.row(format!("{name}, over bare"), "/request", each - bare);
        match case.name {
            "Guard, no log" => drop(row.at_most(7_000.0)),
            cases::JSON => drop(row.at_most(14_000.0)),
            _ => {}
        }
    }
}

fn run(load: &Load, files: &Path, case: &str, requests: usize) -> u64 {
    let counted = files.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", counted.display()))
        .arg(std::env::current_exe().unwrap());
    let server = Process::speaking(&mut command, case, files, false);
    let mut connections = load.connect(Wire::Tls1, server.address());
    load.ask(&mut connections, Asked::Manifest, requests);
    drop(connections);
    server.end();
    let report = fs::read_to_string(&counted).unwrap();
    let totals = report.lines().find_map(|line| {
        let line = line
            .strip_prefix("totals:")
            .or(line.strip_prefix("summary:"))?;
        line.split_whitespace().next()?.parse().ok()
    });
    totals.expect("callgrind writes the total")
}
