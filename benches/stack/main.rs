//! What the gate costs: a request through each layer alone and through the whole stack, over the
//! bare service, and a 1 GiB body against the bare body.
//!
//! `cargo bench --bench stack --features json-log` prints the table and writes `target/figures/stack.json`.
//! `cargo bench --bench stack --features json-log -- --instructions` also counts instructions under valgrind's
//! callgrind, which other work on the machine cannot disturb.
//! `-- --case NAME --requests N` runs one case and nothing else, for a profiler.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench")]

#[path = "../figures/mod.rs"]
mod figures;
#[path = "../zeros/mod.rs"]
mod zeros;

mod cases;
mod instructions;
mod throughput;

use std::time::Duration;

use cases::{Case, Log};
use figures::Figures;

const ROUNDS: usize = 60;
const REQUESTS: usize = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let inside = runtime.enter();
    if let (Some(name), Some(requests)) = (value("--case"), value("--requests")) {
        let case = cases::all().into_iter().find(|case| case.name == *name);
        let case = case.expect("a case of this name");
        let requests = requests.parse().expect("a number of requests");
        case.log.during(|| case.make()(requests));
        return;
    }
    let mut figures = Figures::new("stack");
    time(&mut figures);
    if arguments
        .iter()
        .any(|argument| argument == "--instructions")
    {
        instructions::count(&mut figures);
    }
    drop(inside);
    throughput::measure(&mut figures);
    figures.report();
}

// The cases of one kind of log take turns with the bare service, so that what disturbs the machine
// disturbs all of them, and the lower quartile of many rounds leaves the disturbed rounds out.
fn time(figures: &mut Figures) {
    for log in [Log::Off, Log::Metrics, Log::Json, Log::StockJson] {
        let all = cases::all().into_iter();
        let cases: Vec<_> = all
            .filter(|case| case.log == log || case.name == cases::BARE)
            .collect();
        let nanos = log.during(|| take_turns(&cases));
        for (case, measured) in cases.iter().zip(&nanos).skip(1) {
            let name = format!("{}, time over bare", case.name);
            let row = figures.row(name, "ns/request", measured - nanos[0]);
            if let Some(target) = case.nanos {
                row.at_most(target);
            }
        }
        if log == Log::Off {
            figures.row("bare service, time", "ns/request", nanos[0]);
        }
    }
}

fn take_turns(cases: &[Case]) -> Vec<f64> {
    let mut runs: Vec<_> = cases.iter().map(Case::make).collect();
    let mut rounds: Vec<Vec<Duration>> = runs.iter().map(|_| Vec::new()).collect();
    for run in &mut runs {
        run(REQUESTS);
    }
    for _ in 0..ROUNDS {
        for (run, times) in runs.iter_mut().zip(&mut rounds) {
            times.push(run(REQUESTS));
        }
    }
    rounds.iter_mut().map(|times| per_request(times)).collect()
}

fn per_request(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let requests = REQUESTS as f64;
    times[times.len() / 4].as_secs_f64() * 1e9 / requests
}
