//! A gate in front of any registry, unmodified:
//!
//! ```console
//! cargo run --release --example gate -- --config gate.toml --upstream http://127.0.0.1:5000
//! ```
//!
//! [`portcullis::Guard`] decides who may do what, [`portcullis::serve::Server`] serves; what is here is the
//! proxy to the registries, the ports and the flags.

mod authorization;
mod cli;
mod dialled;
mod ports;
#[path = "../process/mod.rs"]
mod process;
mod proxy;
mod section;
mod setup;

use std::process::ExitCode;

use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use crate::cli::Arguments;
use crate::process::{Ended, Operator, announce};
use crate::setup::Setup;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::main("gate", arguments.process.check, run(&arguments))
}

async fn run(arguments: &Arguments) -> Ended {
    let operator = Operator::open(&arguments.process).await?;
    let setup = Setup::read(arguments)?;
    if arguments.process.check {
        print!("{}", setup.report);
        return Ok(ExitCode::SUCCESS);
    }
    setup.report.log();
    for proxy in setup.routes.proxies() {
        tracing::info!(upstream = %proxy.upstream(), "passes on what it lets in");
    }
    let stop = CancellationToken::new();
    process::stop_on_signals(stop.clone())?;
    if let Some(operator) = operator {
        operator.serve(setup.admin(), || (), stop.clone());
    }
    let guard = setup.guard.clone();
    let running = setup.start(stop, *arguments.process.drain).await?;
    announce(&running.urls)?;
    process::finish(&guard, running.ended().await?).await
}
