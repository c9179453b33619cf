//! What the gate costs in front of a registry, beside nginx and `HAProxy` as proxies with the nearest protections: CPU a
//! request of 1 KiB, CPU a GB of a blob, and the latency that each adds. All stand in front of one and the same
//! upstream, in one run, with TLS, a client certificate, a CRL, a token, a policy, limits and an access log.
//!
//! `cargo bench --bench gate` takes under a minute, `cargo bench --bench gate -- --full` has longer rows. Each server is
//! a process of its own, whose CPU time is the kernel's accounting of its threads. A peer that is not installed is
//! not measured.

#![allow(clippy::expect_used, reason = "a bench that cannot run stops")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures, not accounts"
)]

#[path = "../../examples/gate/authorization.rs"]
mod authorization;
#[path = "../../examples/gate/cli.rs"]
#[allow(dead_code, reason = "what only the program uses")]
mod cli;
#[path = "../cpu/mod.rs"]
mod cpu;
#[path = "../../examples/gate/dialled.rs"]
mod dialled;
#[path = "../figures/mod.rs"]
mod figures;
mod load;
mod pki;
#[path = "../../examples/gate/ports.rs"]
mod ports;
#[path = "../../examples/process/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only the program uses")]
mod process;
#[path = "../../examples/gate/proxy/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what only the program uses")]
mod proxy;
#[path = "../../examples/gate/section.rs"]
mod section;
mod servers;
#[path = "../../examples/gate/setup.rs"]
#[allow(dead_code, reason = "what only the program uses")]
mod setup;

use clap::Parser;

use crate::figures::Figures;
use crate::load::Load;
use crate::pki::Pki;
use crate::servers::Server;

#[derive(Parser)]
struct Arguments {
    /// Be the upstream rather than the bench.
    #[arg(long)]
    be_upstream: bool,
    /// Be the gate with these flags.
    #[arg(long, num_args = 1.., allow_hyphen_values = true)]
    be_gate: Vec<String>,
    /// Longer rows.
    #[arg(long)]
    full: bool,
    /// What cargo adds.
    #[arg(long)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.be_upstream {
        return servers::be_upstream();
    }
    if !arguments.be_gate.is_empty() {
        return servers::be_gate(&arguments.be_gate);
    }
    servers::be_client();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut figures = Figures::new("gate");
    runtime.block_on(measure(&mut figures, arguments.full));
    figures.report();
}

/// What one server was measured at.
#[derive(Clone, Copy)]
struct Measured {
    micros_a_request: f64,
    seconds_a_gigabyte: f64,
    p50_millis: f64,
    p99_millis: f64,
}

async fn measure(figures: &mut Figures, full: bool) {
    let (requests, megabytes) = if full { (20_000, 4096) } else { (2_000, 256) };
    let pki = Pki::new();
    let upstream = Server::upstream();
    let direct = Load::clear(upstream.address);
    let direct = direct.latencies(requests).await;
    let mut all = Vec::new();
    for server in [
        Some(Server::gate(&pki, upstream.address)),
        Server::nginx(&pki, upstream.address),
        Server::haproxy(&pki, upstream.address),
    ] {
        let Some(server) = server else {
            all.push(None);
            continue;
        };
        let load = Load::new(server.address, &pki);
        // The first ones' allocations and handshakes do not count.
        load.requests(requests / 10).await;
        let before = server.cpu_seconds();
        load.requests(requests).await;
        let micros_a_request = (server.cpu_seconds() - before) * 1e6 / requests as f64;
        let before = server.cpu_seconds();
        load.blob(megabytes << 20).await;
        let gigabytes = megabytes as f64 * f64::from(1 << 20) / 1e9;
        let seconds_a_gigabyte = (server.cpu_seconds() - before) / gigabytes;
        let latencies = load.latencies(requests).await;
        all.push(Some(Measured {
            micros_a_request,
            seconds_a_gigabyte,
            p50_millis: latencies.at(0.5) - direct.at(0.5),
            p99_millis: latencies.at(0.99) - direct.at(0.99),
        }));
    }
    let [Some(gate), nginx, haproxy] = all[..] else {
        panic!("the gate was not measured");
    };
    for (name, peer, figure, bound) in [
        (
            "CPU a request of 1 KiB",
            "nginx",
            nginx.map(|it| it.micros_a_request),
            0.6,
        ),
        (
            "CPU a request of 1 KiB",
            "HAProxy",
            haproxy.map(|it| it.micros_a_request),
            0.8,
        ),
    ] {
        row(
            figures,
            (name, "µs"),
            gate.micros_a_request,
            (peer, figure),
            bound,
        );
    }
    for (peer, figure) in [
        ("nginx", nginx.map(|it| it.seconds_a_gigabyte)),
        ("HAProxy", haproxy.map(|it| it.seconds_a_gigabyte)),
    ] {
        let name = ("CPU a GB of a blob", "s");
        row(figures, name, gate.seconds_a_gigabyte, (peer, figure), 0.7);
    }
    for (peer, figure) in [
        ("nginx", nginx.map(|it| it.p50_millis)),
        ("HAProxy", haproxy.map(|it| it.p50_millis)),
    ] {
        let name = ("added latency p50 of a HEAD", "ms");
        row(figures, name, gate.p50_millis, (peer, figure), 1.0);
    }
    // Spegel's peers give up on a head after 100 ms.
    figures
        .row("added latency p99 of a HEAD", "ms", gate.p99_millis)
        .at_most(1.0);
}

fn row(
    figures: &mut Figures,
    (name, unit): (&str, &'static str),
    ours: f64,
    (peer, figure): (&str, Option<f64>),
    bound: f64,
) {
    let row = figures.row(format!("{name}, beside {peer}"), unit, ours);
    match figure {
        Some(figure) => row.peer(peer, figure).ratio_at_most(bound),
        None => row.unmeasured(peer),
    };
}
