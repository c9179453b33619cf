//! What a new CRL of 1,000,000 entries costs a server that is at work: whether its load holds up
//! requests, how soon the connections of revoked clients are gone, and what handshakes take.
//!
//! `cargo bench --bench enforcement`. The 10,000 connections are in-process pipes, since so many
//! sockets need more file descriptors than most shells allow; TLS, the acceptor, hyper and the layer are
//! the real ones. One is gone when its client has seen the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run stops"
)]
#![allow(clippy::cast_precision_loss, reason = "figures")]

#[path = "../figures/mod.rs"]
mod figures;
#[path = "../serials/mod.rs"]
mod serials;

mod connections;
mod pki;
mod requests;
mod servers;

use std::time::Instant;

use clap::Parser;
use connections::Connections;
use pki::Pki;

#[derive(Parser)]
struct Arguments {
    /// How many connections are open.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How many entries the CRL has.
    #[arg(long, default_value_t = 1_000_000)]
    entries: usize,
    /// What cargo adds.
    #[arg(long)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let mut figures = figures::Figures::new("enforcement");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let pki = Pki::new();
    let list = pki.list(1, &pki::strangers(arguments.entries));
    requests(&runtime, &pki, &list, &mut figures);
    handshakes(&runtime, &pki, &list, &mut figures);
    connections(&runtime, &pki, &list, &arguments, &mut figures);
    figures.report();
}

fn requests(
    runtime: &tokio::runtime::Runtime,
    pki: &Pki,
    list: &[u8],
    figures: &mut figures::Figures,
) {
    let revocation = pki.revocation(list);
    let waits = runtime.block_on(requests::waits(pki, &revocation, list));
    let at = |waits: &[f64], of: usize| waits[waits.len() * of / 100];
    let name = "a request's wait while the list is loaded again and again";
    let row = figures.row(format!("{name}, median"), "µs", at(&waits.during_loads, 50));
    row.peer("busy threads", at(&waits.beside_work, 50))
        .peer("no load", at(&waits.in_peace, 50));
    let slow = at(&waits.during_loads, 99);
    // A load takes two CPUs for as long as it lasts, which other work as long would take too. What a
    // lock or a pause of its own would add has to stay under half of that.
    let row = figures.row(format!("{name}, 99th percentile"), "µs", slow);
    row.peer("busy threads", at(&waits.beside_work, 99))
        .peer("no load", at(&waits.in_peace, 99))
        .ratio_at_most(1.5);
    // A peer of a peer-to-peer mirror gives up after 100 ms: a twentieth of that, on two CPUs.
    figures
        .row(format!("{name}, 99th percentile in ms"), "ms", slow / 1e3)
        .at_most(5.0);
}

/// How often handshakes with and without the list are measured in turns.
const PAIRS: usize = 15;

fn handshakes(
    runtime: &tokio::runtime::Runtime,
    pki: &Pki,
    list: &[u8],
    figures: &mut figures::Figures,
) {
    let count = 500;
    let clients = pki.clients(count);
    let acceptors = [pki.acceptor(None), pki.acceptor(Some(pki.revocation(list)))];
    let rate = |acceptor| {
        let began = Instant::now();
        drop(runtime.block_on(connections::connect(acceptor, &clients)));
        count as f64 / began.elapsed().as_secs_f64()
    };
    // Once for nothing, so that both are warm.
    for acceptor in &acceptors {
        rate(acceptor);
    }
    let mut rates = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for turn in 0..PAIRS {
        // The second has the warmer machine, so they take turns in that too.
        let mut pair = [0.0; 2];
        for at in [turn % 2, 1 - turn % 2] {
            pair[at] = rate(&acceptors[at]);
            rates[at].push(pair[at]);
        }
        ratios.push(pair[1] / pair[0]);
    }
    let [plain, checked] = rates.map(median);
    figures
        .row("handshakes while the list is in force", "/s", checked)
        .peer("no CRL", plain);
    // They must not fall at all: a hundredth is what the median of so many pairs still wavers by.
    figures
        .row(
            format!("the same over those without CRL, median of {PAIRS} pairs in turns"),
            "times",
            median(ratios),
        )
        .at_least(0.99);
    peers(runtime, pki, list, &acceptors, &clients, figures);
}

/// A handshake over TCP with one request and its answer: ours and others', with the list and without.
fn peers(
    runtime: &tokio::runtime::Runtime,
    pki: &Pki,
    list: &[u8],
    acceptors: &[portcullis::tls::Acceptor; 2],
    clients: &[pki::Client],
    figures: &mut figures::Figures,
) {
    let files = pki.files(list);
    for (name, with_list) in [("with the list", true), ("without a list", false)] {
        let ours = servers::ours(runtime, &acceptors[usize::from(with_list)]);
        let ours = servers::rate(runtime, &ours, clients);
        let row = figures.row(format!("connections of one request, {name}"), "/s", ours);
        for (peer, start) in [
            ("HAProxy", servers::haproxy as servers::Start),
            ("nginx", servers::nginx),
        ] {
            match start(&files, with_list) {
                Some(server) => {
                    row.peer(peer, servers::rate(runtime, &server, clients));
                }
                None => eprintln!("{peer} is not installed: its row is left out"),
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn connections(
    runtime: &tokio::runtime::Runtime,
    pki: &Pki,
    list: &[u8],
    arguments: &Arguments,
    figures: &mut figures::Figures,
) {
    let clients = pki.clients(arguments.connections);
    // One in ten of each kind.
    let is_revoked = |at: usize| (at / connections::KINDS.len()).is_multiple_of(10);
    let revoked: Vec<_> = (0..clients.len()).filter(|at| is_revoked(*at)).collect();
    let mut serials = pki::strangers(arguments.entries);
    serials.extend(revoked.iter().map(|at| clients[*at].serial));
    let newer = pki.list(2, &serials);
    let load = |revocation: &portcullis::crl::Revocation| {
        let loads = (0..5).map(|_| connections::publish(revocation, list).loading);
        median(loads.map(|time| time.as_secs_f64() * 1e3).collect())
    };
    let alone = load(&pki.revocation(list));
    let revocation = pki.revocation(list);
    let acceptor = pki.acceptor(Some(revocation.clone()));
    let open = Connections::open(runtime, &acceptor, &clients);
    let beside = load(&revocation);
    let published = connections::publish(&revocation, &newer);
    let gone = open.gone(runtime, revoked.len());
    // The publisher looks at all once the list is there; before that they cost nothing.
    figures
        .row(
            format!("load of a list beside {} connections", clients.len()),
            "ms",
            beside,
        )
        .peer("beside none", alone)
        .ratio_at_most(1.25);
    for kind in connections::KINDS {
        let of_kind = gone.iter().filter(|ended| ended.kind == kind);
        let times = of_kind.map(|ended| ended.at.saturating_duration_since(published.at));
        let longest = times.max().expect("some are gone");
        let count = gone.iter().filter(|ended| ended.kind == kind).count();
        figures
            .row(
                format!("the last of {count} revoked connections is closed, {kind}"),
                "ms",
                longest.as_secs_f64() * 1e3,
            )
            .at_most(100.0);
    }
}
