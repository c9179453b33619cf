//! What a TLS handshake with a client certificate costs the server, beside plain rustls with its
//! `WebPkiClientVerifier`: without CRLs, with one of a million entries, resumed; what reading an
//! identity costs, and the memory of a connection.
//!
//! `cargo bench --bench tls`. The server has a thread of its own over loopback and only that
//! thread's CPU time counts, so that neither the client nor other work on the machine does.

#![allow(clippy::expect_used, reason = "a bench that cannot run stops")]
#![allow(clippy::cast_precision_loss, reason = "figures, not accounts")]

#[path = "../figures/mod.rs"]
mod figures;

mod pki;
mod servers;

use std::hint::black_box;
use std::time::Instant;

use figures::Figures;
use pki::{Client, Pki};
use portcullis::PeerIdentity;
use portcullis::crl::{Depth, Options, Revocation};
use servers::{Kind, cpu_of, memory_of};

const ROUNDS: usize = 5;
const HANDSHAKES: usize = 120;
const ENTRIES: u64 = 1_000_000;

fn main() {
    let pki = Pki::new();
    let strangers = pki.clients(HANDSHAKES * ROUNDS);
    let known = vec![strangers[0].clone()];
    let mut figures = Figures::new("tls");

    let plain = Kind::Plain(pki.plain(None));
    let ours = Kind::Ours(pki.ours(None));
    let (ours_new, plain_new) = side_by_side(&ours, &plain, &strangers);
    let (ours_known, plain_known) = side_by_side(&ours, &plain, &known);
    let (ours_resumed, plain_resumed) = side_by_side(&ours, &plain, &[pki.resuming()]);

    eprintln!("making a CRL of {ENTRIES} entries");
    let list = pki.crl(ENTRIES);
    let options = Options::default().with_depth(Depth::Leaf);
    let begun = Instant::now();
    let revocation = Revocation::from_bytes([&list[..]], options).expect("a CRL");
    let loaded = begun.elapsed();
    let ours_million = Kind::Ours(pki.ours(Some(revocation)));
    // The first look checks the list's signature, once for all.
    cpu_of(&ours_million, &known, 1);
    let million: Vec<_> = rounds(&strangers)
        .map(|clients| cpu_of(&ours_million, clients, clients.len()))
        .collect();
    let ours_million = rate(million);
    let plain_million = Kind::Plain(pki.plain(Some(&list)));
    let plain_million = rate(vec![cpu_of(&plain_million, &known, 12)]);
    drop(list);

    let unit = "per CPU s";
    figures
        .row(
            "full handshakes, no CRL, client not seen before",
            unit,
            ours_new,
        )
        .peer("rustls", plain_new)
        .ratio_at_least(0.97);
    figures
        .row(
            "full handshakes, no CRL, client seen before",
            unit,
            ours_known,
        )
        .peer("rustls", plain_known)
        .ratio_at_least(0.97);
    figures
        .row("resumed handshakes", unit, ours_resumed)
        .peer("rustls", plain_resumed)
        .ratio_at_least(0.97);
    figures
        .row("full handshakes, CRL of 1M entries", unit, ours_million)
        .peer("rustls", plain_million);
    figures
        .row(
            "full handshakes, CRL of 1M entries over none",
            unit,
            ours_million,
        )
        .peer("ours without", ours_new)
        .ratio_at_least(0.97);
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

    let connections = 1_000;
    let plain_bytes = memory_of(&plain, &strangers[..], connections);
    let ours_bytes = memory_of(&ours, &strangers[..], connections);
    let added = (ours_bytes - plain_bytes) / 1024.0;
    figures
        .row("memory we add to a connection", "KiB", added)
        .at_most(4.0);
    figures.report();
}

/// Handshakes in a second of the server's CPU, ours and plain, in turns.
fn side_by_side(ours: &Kind, plain: &Kind, clients: &[Client]) -> (f64, f64) {
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for clients in rounds(clients) {
        one.push(cpu_of(ours, clients, HANDSHAKES));
        other.push(cpu_of(plain, clients, HANDSHAKES));
    }
    (rate(one), rate(other))
}

/// The clients of each round: others where there are enough of them.
fn rounds(clients: &[Client]) -> impl Iterator<Item = &[Client]> {
    let size = (clients.len() / ROUNDS).max(1);
    let rounds = clients.chunks(size).cycle();
    rounds.take(ROUNDS)
}

/// From the nanoseconds of a handshake: the median's rate.
fn rate(mut nanos: Vec<f64>) -> f64 {
    nanos.sort_by(f64::total_cmp);
    1e9 / nanos[nanos.len() / 2]
}

fn micros(mut work: impl FnMut()) -> f64 {
    let times = 20_000;
    let before = servers::cpu_nanos();
    for _ in 0..times {
        work();
    }
    (servers::cpu_nanos() - before) as f64 / 1e3 / f64::from(times)
}
