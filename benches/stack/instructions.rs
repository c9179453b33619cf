//! Instructions a request, counted by valgrind's callgrind.

use std::env;
use std::process::Command;

use crate::cases;
use crate::figures::Figures;

const FEW: usize = 2_000;
const MANY: usize = 10_000;

/// Adds a row a case. Making the requests costs the same in each case and goes out with the bare
/// service's.
///
/// # Panics
/// If valgrind is not there: instructions were asked for.
pub(crate) fn count(figures: &mut Figures) {
    let mut bare = 0.0;
    for case in cases::all() {
        let few = run(case.name, FEW);
        let many = run(case.name, MANY);
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let each = (many - few) as f64 / (MANY - FEW) as f64;
        if case.name == cases::BARE {
            bare = each;
            continue;
        }
        let name = format!("{}, instructions over bare", case.name);
        let row = figures.row(name, "/request", each - bare);
        if let Some(target) = case.instructions {
            row.at_most(target);
        }
    }
}

fn run(case: &str, requests: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().expect("the path of this program"))
        .args(["--case", case, "--requests", &requests.to_string()])
        .output()
        .expect("valgrind is needed to count instructions: install the package `valgrind`");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "valgrind failed:\n{report}");
    let collected = report
        .lines()
        .find_map(|line| line.split("Collected :").nth(1))
        .and_then(|count| count.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("no count in callgrind's report:\n{report}"))
}
