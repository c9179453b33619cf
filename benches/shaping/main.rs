//! How well byte rates are kept over real sockets: accuracy, fairness, smoothness and cost, beside
//! other limiters.
//!
//! `cargo bench --bench shaping` takes under a minute; `cargo bench --bench shaping -- --full` has
//! all peers and 20,000 streams, and draws `docs/greedy-tenant.svg`. Each server is a process of its
//! own, so that its CPU time is its own; what was sent is what the clients received.

#![allow(clippy::expect_used, reason = "a bench that cannot run stops")]

#[path = "../figures/mod.rs"]
mod figures;

mod cases;
mod clients;
mod picture;
mod proxies;
mod servers;

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// Be this server rather than the bench.
    #[arg(long)]
    serve: Option<servers::Kind>,
    /// The total rate, in bytes per second.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Share by tenant, with the weights that tenants' names end in.
    #[arg(long)]
    share: bool,
    /// All cases, longer, and the picture.
    #[arg(long)]
    full: bool,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// What cargo adds.
    #[arg(long)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(kind) = arguments.serve {
        return servers::serve(kind, arguments.rate, arguments.share);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut figures = figures::Figures::new("shaping");
    runtime.block_on(cases::run(&mut figures, arguments.full, &arguments.only));
    figures.report();
}
