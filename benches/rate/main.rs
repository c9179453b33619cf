//! What a byte-rate limit costs, beside other limiters.
//!
//! `cargo bench --bench rate` prints nanoseconds an operation (the least of several runs), and the
//! instructions of a body through hyper, for 1 GiB, if `valgrind` is installed.
#![allow(clippy::expect_used, reason = "a bench that cannot run stops")]
#![allow(clippy::cast_precision_loss, reason = "figures")]

#[path = "../figures/mod.rs"]
mod figures;
#[path = "../zeros/mod.rs"]
mod zeros;

mod bodies;
mod operations;

use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// Pass a body of this kind through hyper rather than measure.
    #[arg(long)]
    body: Option<bodies::Kind>,
    /// How long the body is, in MiB.
    #[arg(long, default_value_t = 1024)]
    mebibytes: u64,
    /// What cargo adds.
    #[arg(long)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(kind) = arguments.body {
        return bodies::pass(kind, arguments.mebibytes);
    }
    let mut figures = figures::Figures::new("rate");
    operations::measure(&mut figures);
    bodies::measure(&mut figures);
    figures.report();
}
