//! What a request costs a server: its CPU time, by the kernel's accounting of its process, beside bare hyper,
//! nginx and `HAProxy` with the nearest protections.
//!
//! `cargo bench --bench request` takes two minutes; `-- --instructions` also counts
//! instructions under valgrind's callgrind, which other work on the machine cannot disturb, and `-- --only TEXT`
//! leaves out the tables whose name lacks the text. Each server is a process of its own on one CPU, the load is on
//! another; the servers take turns, and a ratio is the median of the turns'. `target/figures/request.json` has
//! the table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run stops"
)]
#![allow(clippy::cast_precision_loss, reason = "figures, not accounts")]

#[path = "../cpu/mod.rs"]
mod cpu;
#[path = "../figures/mod.rs"]
mod figures;
#[path = "../serials/mod.rs"]
mod serials;
#[path = "../zeros/mod.rs"]
mod zeros;

#[path = "../enforcement/pki.rs"]
#[allow(dead_code, reason = "made for another bench")]
mod pki;

mod cases;
mod instructions;
mod load;
mod process;
mod proxies;
mod serve;

use std::path::{Path, PathBuf};

use cases::Case;
use clap::Parser;
use figures::Figures;
use load::{Asked, Load, Wire};
use pki::Pki;
use process::Process;

#[derive(Parser)]
struct Arguments {
    /// Be this server rather than the bench.
    #[arg(long)]
    serve: Option<String>,
    /// Where the server's certificates are.
    #[arg(long, default_value = ".")]
    files: PathBuf,
    /// Serve in the clear.
    #[arg(long)]
    plain: bool,
    /// Count instructions too.
    #[arg(long)]
    instructions: bool,
    /// Only tables whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// How many requests a turn has.
    #[arg(long, default_value_t = 4_000)]
    requests: usize,
    /// How many turns each server has.
    #[arg(long, default_value_t = 11)]
    turns: usize,
    /// What cargo adds.
    #[arg(long)]
    bench: bool,
}

const GUARD: &str = "Guard, no log";
const REFUSED: &str = "Guard, no log, wrong token";

fn main() {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.serve {
        return serve::run(name, &arguments.files, arguments.plain);
    }
    let pki = Pki::new();
    let files = pki.files(&pki.list(1, &pki::strangers(1_000)));
    std::fs::write(files.join("token"), cases::TOKEN).unwrap();
    let client = pki.clients(1).remove(0).config;
    // Where there is no other CPU, all stay on one.
    cpu::move_to("1");
    let bench = Bench {
        load: Load::new(client),
        files: &files,
        arguments: &arguments,
    };
    let mut figures = Figures::new("request");
    for wire in [Wire::Tls1, Wire::Tls2, Wire::Plain1] {
        if wire.name().contains(&arguments.only) {
            bench.requests(wire, &mut figures);
        }
    }
    if "1 GiB".contains(&arguments.only) {
        bench.blobs(&mut figures);
    }
    if arguments.instructions {
        instructions::rows(&bench.load, &files, &mut figures);
    }
    figures.report();
}

struct Bench<'a> {
    load: Load,
    files: &'a Path,
    arguments: &'a Arguments,
}

/// A server with what its turns cost.
struct Contestant {
    name: &'static str,
    process: Process,
    asked: Asked,
    /// CPU nanoseconds a request, by turn.
    turns: Vec<f64>,
}

impl Bench<'_> {
    fn ours(&self, case: &Case, wire: Wire) -> Process {
        Process::ours(case.name, self.files, wire == Wire::Plain1)
    }

    /// CPU time a request of 1 KiB, for each case and peer.
    fn requests(&self, wire: Wire, figures: &mut Figures) {
        let mut contestants = Vec::new();
        let mut join = |name, process, asked| {
            contestants.push(Contestant {
                name,
                process,
                asked,
                turns: Vec::new(),
            });
        };
        for case in cases::all() {
            // Without TLS there is no certificate to look at.
            if wire == Wire::Plain1 && case.wants_certificate {
                continue;
            }
            join(case.name, self.ours(&case, wire), Asked::Manifest);
        }
        let guard = cases::named(GUARD);
        if wire != Wire::Plain1 {
            join(REFUSED, self.ours(&guard, wire), Asked::Refused);
            for (name, peer) in proxies::all(self.files) {
                match peer {
                    Some(peer) => join(name, peer, Asked::Manifest),
                    None => eprintln!("{name} is not installed: it is left out"),
                }
            }
        }
        let mut connections: Vec<_> = contestants
            .iter()
            .map(|server| self.load.connect(wire, server.process.address()))
            .collect();
        for turn in 0..=self.arguments.turns {
            for (server, connections) in contestants.iter_mut().zip(&mut connections) {
                let before = server.process.cpu_nanos();
                let asked = server.asked;
                self.load.ask(connections, asked, self.arguments.requests);
                let used = (server.process.cpu_nanos() - before) as f64;
                // The first is for caches and allocators.
                if turn > 0 {
                    server.turns.push(used / self.arguments.requests as f64);
                }
            }
        }
        rows(wire, &contestants, figures);
    }

    /// CPU time of a 1 GiB blob over TLS.
    fn blobs(&self, figures: &mut Figures) {
        let mut servers = vec![
            (
                cases::BARE,
                self.ours(&cases::named(cases::BARE), Wire::Tls1),
            ),
            (GUARD, self.ours(&cases::named(GUARD), Wire::Tls1)),
        ];
        let peers = proxies::all(self.files).into_iter();
        // HAProxy answers no gigabyte by itself.
        let peers = peers.filter(|(name, _)| name.starts_with("nginx") && !name.contains("buffer"));
        servers.extend(peers.filter_map(|(name, peer)| Some((name, peer?))));
        let mut costs: Vec<Vec<f64>> = servers.iter().map(|_| Vec::new()).collect();
        for turn in 0..4 {
            for ((_, server), costs) in servers.iter().zip(&mut costs) {
                let before = server.cpu_nanos();
                let bytes = self.load.blob(server.address());
                let used = (server.cpu_nanos() - before) as f64;
                if turn > 0 {
                    costs.push(used / bytes as f64);
                }
            }
        }
        let costs: Vec<f64> = costs.into_iter().map(median).collect();
        let row = figures.row("1 GiB blob, TLS HTTP/1.1: Guard", "CPU s/GB", costs[1]);
        row.peer(cases::BARE, costs[0]);
        for ((name, _), cost) in servers.iter().zip(&costs).skip(2) {
            row.peer(*name, *cost);
        }
        row.ratio_at_most(1.02);
    }
}

fn rows(wire: Wire, contestants: &[Contestant], figures: &mut Figures) {
    let find = |name: &str| contestants.iter().find(|server| server.name == name);
    let bare = find(cases::BARE).unwrap();
    let name = wire.name();
    figures.row(format!("{name}: {}", bare.name), "µs CPU", micros(bare));
    for server in contestants.iter().filter(|server| server.name != bare.name) {
        let row = figures.row(format!("{name}: {}", server.name), "µs CPU", micros(server));
        row.ratio_of(ratio(server, bare))
            .peer(bare.name, micros(bare));
        match (server.name, wire) {
            (GUARD, Wire::Tls1) => drop(row.ratio_at_most(1.15)),
            (cases::JSON, Wire::Tls1) => drop(row.ratio_at_most(1.40)),
            _ => {}
        }
    }
    let against = [
        (cases::JSON, proxies::NGINX, 0.40),
        (cases::JSON, proxies::HAPROXY, 0.55),
        (REFUSED, GUARD, 1.0),
    ];
    for (ours, peer, target) in against {
        let (Some(ours), Some(peer)) = (find(ours), find(peer)) else {
            continue;
        };
        let row = format!("{name}: {} over {}", ours.name, peer.name);
        let row = figures.row(row, "µs CPU", micros(ours));
        row.ratio_of(ratio(ours, peer))
            .peer(peer.name, micros(peer));
        if wire == Wire::Tls1 {
            row.ratio_at_most(target);
        }
    }
}

/// The median of the ratios between neighbours.
fn ratio(ours: &Contestant, other: &Contestant) -> f64 {
    let ratios = ours.turns.iter().zip(&other.turns);
    median(ratios.map(|(ours, other)| ours / other).collect())
}

fn micros(server: &Contestant) -> f64 {
    median(server.turns.clone()) / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
