//! What a TLS handshake with a client certificate costs the server, beside plain rustls with its
//! `WebPkiClientVerifier`: without CRLs, with one of a million entries, resumed; what reading an
//! identity costs, the memory of a connection, and the chains that cost the server most.
//!
//! `cargo bench --bench tls`. The server has a thread of its own over loopback and only that
//! thread's CPU time counts, so that neither the client nor other work on the machine does. The two sides
//! shake hands in turns, one by one, and the ratio is the median of the pairs'. Memory is what the
//! allocator counts.

#![allow(clippy::expect_used, reason = "a bench that cannot run stops")]
#![allow(clippy::cast_precision_loss, reason = "figures, not accounts")]

#[path = "../figures/mod.rs"]
mod figures;

#[path = "../../tests/pki/worst.rs"]
#[allow(clippy::unwrap_used, unreachable_pub, reason = "made for tests")]
mod chains;
mod pki;
mod servers;
mod worst;

use std::alloc::System;
use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use figures::Figures;
use pki::{Client, Pki};
use portcullis::PeerIdentity;
use portcullis::crl::{Options, Revocation};
use servers::{Kind, LONG_WARM_UP, WARM_UP, in_turns, memory_of};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ENTRIES: u64 = 1_000_000;

#[derive(Parser)]
struct Arguments {
    /// How many handshakes a row has of each side.
    #[arg(long, default_value_t = 1_500)]
    handshakes: usize,
    /// Nothing but so many handshakes of one side, `ours` or `rustls`, for a profiler.
    #[arg(long)]
    profile: Option<String>,
    /// Nothing but the chains that cost most.
    #[arg(long)]
    worst: bool,
    /// What cargo adds.
    #[arg(long)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.worst {
        let mut figures = Figures::new("tls");
        worst::rows(&mut figures);
        figures.print();
        return;
    }
    let pki = Pki::new();
    let strangers = pki.clients(arguments.handshakes + LONG_WARM_UP);
    if let Some(side) = &arguments.profile {
        let kind = match side.as_str() {
            "ours" => Kind::Ours(pki.ours(None)),
            _ => Kind::Plain(pki.plain(None)),
        };
        memory_of(&kind, &strangers, strangers.len(), heap);
        return;
    }
    let mut figures = Figures::new("tls");
    let mut bench = Bench {
        figures: &mut figures,
        warm_up: LONG_WARM_UP,
        handshakes: arguments.handshakes,
    };

    let known = &strangers[..1];
    let plain = Kind::Plain(pki.plain(None));
    let bounded = Kind::Bounded(pki.plain(None));
    let ours = || Kind::Ours(pki.ours(None));
    let resuming = [0, 1].map(|_| [pki.resuming()]);
    let resuming = [&resuming[0][..], &resuming[1]];
    for (row, clients) in [
        (
            "full handshakes, no CRL, client not seen before",
            [&*strangers; 2],
        ),
        ("full handshakes, no CRL, client seen before", [known; 2]),
        ("resumed handshakes", resuming),
    ] {
        bench.warm_up = if clients[0].len() > 1 {
            LONG_WARM_UP
        } else {
            WARM_UP
        };
        bench.row(row, ("rustls, no timeout", [&ours(), &plain]), clients);
        let row = format!("{row}, each with a timeout");
        bench.row(&row, ("rustls", [&ours(), &bounded]), clients);
    }

    let options = Options::default().with_leaf_only(true);
    bench.smaller_lists(&pki, &strangers, options);

    eprintln!("making a CRL of {ENTRIES} entries");
    let list = pki.crl(ENTRIES);
    let begun = Instant::now();
    let revocation = Revocation::from_bytes([&list[..]], options).expect("a CRL");
    let loaded = begun.elapsed();
    let million = Kind::Ours(pki.ours(Some(revocation)));
    bench.warm_up = LONG_WARM_UP;
    bench.no_fewer(
        "full handshakes, CRL of 1M entries over none",
        ("ours without", [&million, &ours()]),
        [&strangers; 2],
    );
    bench.warm_up = WARM_UP;
    bench.handshakes = 12;
    let plain_million = Kind::Plain(pki.plain(Some(&list)));
    bench.row(
        "full handshakes, CRL of 1M entries",
        ("rustls", [&million, &plain_million]),
        [&strangers; 2],
    );
    drop((list, million, plain_million));
    figures.row("load a CRL of 1M entries", "s", loaded.as_secs_f64());

    let der = &strangers[0].chain[0];
    figures
        .row(
            "read an identity",
            "µs",
            micros(|| {
                black_box(PeerIdentity::from_der(black_box(der)).expect("an identity"));
            }),
        )
        .peer(
            "x509-parser's certificate",
            micros(|| {
                use x509_parser::prelude::{FromDer, X509Certificate};
                black_box(X509Certificate::from_der(black_box(der)).expect("a certificate"));
            }),
        );

    let connections = strangers.len().min(1_000);
    let list = pki.crl(1_000);
    let checked = Revocation::from_bytes([&list[..]], options).expect("a CRL");
    let [plain, ours] = [&plain, &Kind::Ours(pki.ours(Some(checked)))]
        .map(|kind| memory_of(kind, &strangers, connections, heap) / 1024.0);
    figures
        .row("memory of a connection, CRLs checked", "KiB", ours)
        .peer("rustls", plain);
    figures
        .row("memory we add to a connection", "KiB", ours - plain)
        .at_most(4.0);
    worst::rows(&mut figures);
    figures.report();
}

struct Bench<'a> {
    figures: &'a mut Figures,
    warm_up: usize,
    handshakes: usize,
}

impl Bench<'_> {
    /// Handshakes in a second of the server's CPU: the median of ours, and of the other side what the
    /// median of the ratios between neighbours makes of it.
    fn row(
        &mut self,
        name: &str,
        (peer, kinds): (&'static str, [&Kind; 2]),
        clients: [&[Client]; 2],
    ) {
        let (rate, ratios) = self.ratios(kinds, clients);
        let ratio = median(&ratios);
        let row = self.figures.row(name, "per CPU s", rate);
        row.peer(peer, rate / ratio).ratio_at_least(0.97);
    }

    /// Full handshakes beside rustls, with lists of fewer entries than the largest.
    fn smaller_lists(&mut self, pki: &Pki, clients: &[Client], options: Options) {
        let all = self.handshakes;
        self.warm_up = WARM_UP;
        for (entries, name, handshakes) in [(1_000, "1k", 500), (100_000, "100k", 100)] {
            let list = pki.crl(entries);
            let revocation = Revocation::from_bytes([&list[..]], options).expect("a CRL");
            let ours = Kind::Ours(pki.ours(Some(revocation)));
            let plain = Kind::Plain(pki.plain(Some(&list)));
            self.handshakes = handshakes;
            let row = format!("full handshakes, CRL of {name} entries");
            self.row(&row, ("rustls", [&ours, &plain]), [clients; 2]);
        }
        self.handshakes = all;
    }

    /// As [`Bench::row`], where ours may be no fewer than the other's but for the noise: half the width of
    /// the interval in which the median of such ratios lies 95 times out of 100, whatever their
    /// distribution. It is a row of its own.
    fn no_fewer(
        &mut self,
        name: &str,
        (peer, kinds): (&'static str, [&Kind; 2]),
        clients: [&[Client]; 2],
    ) {
        let (rate, ratios) = self.ratios(kinds, clients);
        let noise = noise(&ratios);
        let row = self.figures.row(name, "per CPU s", rate);
        let row = row.peer(peer, rate / median(&ratios));
        row.ratio_at_least(1.0 - noise);
        self.figures.row(format!("{name}: noise"), "", noise);
    }

    /// The median of our rates, and the ratios of ours to the other's in order.
    fn ratios(&mut self, kinds: [&Kind; 2], clients: [&[Client]; 2]) -> (f64, Vec<f64>) {
        let [mut ours, other] = in_turns(kinds, clients, (self.warm_up, self.handshakes));
        let ratios = other.iter().zip(&ours).map(|(other, ours)| other / ours);
        let mut ratios: Vec<_> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        ours.sort_by(f64::total_cmp);
        (1e9 / median(&ours), ratios)
    }
}

/// Of sorted values.
fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// Half the width of the 95 % confidence interval of the median of sorted values, by their ranks: as many
/// lie below the median as heads come of so many coins.
fn noise(sorted: &[f64]) -> f64 {
    let count = sorted.len();
    let off = (0.98 * (count as f64).sqrt()).ceil();
    let below = (count as f64 / 2.0 - off).max(0.0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank"
    )]
    let below = below as usize;
    (sorted[count - 1 - below] - sorted[below]) / 2.0
}

/// What is allocated now, in bytes.
fn heap() -> f64 {
    let stats = HEAP.stats();
    stats.bytes_allocated as f64 - stats.bytes_deallocated as f64
}

fn micros(mut work: impl FnMut()) -> f64 {
    let times = 20_000;
    let before = servers::cpu_nanos();
    for _ in 0..times {
        work();
    }
    (servers::cpu_nanos() - before) as f64 / 1e3 / f64::from(times)
}
