//! What a new CRL of 1,000,000 entries costs a server that is at work: whether its load holds up
//! requests, how soon the connections of those whom it revokes are gone, and what handshakes take.
//!
//! `cargo bench --bench enforcement`. The 10,000 connections are in-process pipes, since so many
//! sockets need more file descriptors than most shells allow; TLS, the acceptor and the layer are the
//! real ones. After the handshake the client's half keeps its pipe and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run stops"
)]
#![allow(clippy::cast_precision_loss, reason = "figures")]

#[path = "../figures/mod.rs"]
mod figures;

mod connections;
mod pki;
mod requests;

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
    let (quiet, during) = runtime.block_on(requests::waits(pki, &revocation, list));
    for (name, of) in [("median", 50), ("99th percentile", 99)] {
        let at = |waits: &[f64]| waits[waits.len() * of / 100];
        let row = figures.row(
            format!("a request's wait while the list is loaded again and again, {name}"),
            "µs",
            at(&during),
        );
        row.peer("no load", at(&quiet));
    }
}

fn handshakes(
    runtime: &tokio::runtime::Runtime,
    pki: &Pki,
    list: &[u8],
    figures: &mut figures::Figures,
) {
    let count = 1_000;
    let clients = pki.clients(count);
    let rate = |revocation| {
        let acceptor = pki.acceptor(revocation);
        let began = Instant::now();
        runtime.block_on(connections::connect(&acceptor, &clients));
        count as f64 / began.elapsed().as_secs_f64()
    };
    // Once for nothing, so that both are warm.
    rate(None);
    let plain = rate(None);
    let checked = rate(Some(pki.revocation(list)));
    figures
        .row("handshakes while the list is in force", "/s", checked)
        .peer("no CRL", plain)
        .ratio_at_least(0.9);
}

fn connections(
    runtime: &tokio::runtime::Runtime,
    pki: &Pki,
    list: &[u8],
    arguments: &Arguments,
    figures: &mut figures::Figures,
) {
    let clients = pki.clients(arguments.connections);
    // One in ten of them.
    let revoked: Vec<_> = clients.iter().step_by(10).map(|one| one.serial).collect();
    let mut serials = pki::strangers(arguments.entries);
    serials.extend(&revoked);
    let newer = pki.list(2, &serials);
    let alone = {
        let revocation = pki.revocation(list);
        connections::publish(&revocation, &newer).loading
    };
    let revocation = pki.revocation(list);
    let acceptor = pki.acceptor(Some(revocation.clone()));
    let open = Connections::open(runtime, &acceptor, &clients);
    let published = connections::publish(&revocation, &newer);
    let gone = open.gone(runtime, revoked.len());
    let since = |instant: &Instant| {
        let since = instant.saturating_duration_since(published.at);
        since.as_secs_f64() * 1e3
    };
    figures
        .row(
            format!("load of a list beside {} connections", clients.len()),
            "ms",
            published.loading.as_secs_f64() * 1e3,
        )
        .peer("beside none", alone.as_secs_f64() * 1e3);
    let count = revoked.len();
    figures
        .row(
            format!("the first of {count} revoked connections is gone after"),
            "ms",
            since(gone.first().expect("some are gone")),
        )
        .at_most(100.0);
    figures
        .row(
            format!("the last of {count} revoked connections is gone after"),
            "ms",
            since(gone.last().expect("some are gone")),
        )
        .at_most(100.0);
}
