//! Serves what this node's containerd holds, read-only and behind a guard: a Spegel without its peers.
//!
//! ```console
//! cargo run --release --example node -- --config gate.toml --containerd /run/containerd/containerd.sock
//! ```
//!
//! containerd finds content by its digest alone; here it is given only by a repository that it was pulled from, as
//! containerd's labels have it. A policy by repository therefore holds for digests too. Requests name the registry
//! (`?ns=`), as containerd's do where a `hosts.toml` sends them here.

mod cli;
mod grpc;
mod holdings;
mod known;
mod messages;
mod operator;
#[path = "../process/mod.rs"]
mod process;
#[path = "../mirror/routes/range.rs"]
#[expect(dead_code, reason = "the mirror has writes on condition too")]
mod range;
mod routes;

use std::convert::Infallible;
use std::process::ExitCode;

use clap::Parser as _;
use http::Request;
use portcullis::config::Config;
use portcullis::serve::{Incoming, Server, bind};
use portcullis::{Body, Guard};
use tokio_util::sync::CancellationToken;

use crate::cli::Arguments;
use crate::grpc::Containerd;
use crate::holdings::Holdings;
use crate::process::{Ended, Operator, announce};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::main("node", arguments.process.check, run(&arguments))
}

async fn run(arguments: &Arguments) -> Ended {
    let operator = Operator::open(&arguments.process).await?;
    let config = Config::load(&arguments.config)?;
    let containerd = Containerd::new(&arguments.containerd, &arguments.namespace);
    let holdings = Holdings::of(containerd);
    let guard = Guard::builder()
        .digest_oracle(holdings.clone())
        .configure(&config)?
        .build();
    let tls = guard.acceptor().is_some();
    arguments.check_clear(tls)?;
    if arguments.process.check {
        print!("{}", guard.report_on(arguments.listen));
        return Ok(ExitCode::SUCCESS);
    }
    let listener = bind(arguments.listen).await?;
    let address = listener.local_addr()?;
    guard.report_on(address).log();
    holdings.follow();
    let stop = CancellationToken::new();
    process::stop_on_signals(stop.clone())?;
    if let Some(operator) = operator {
        let checks = operator::checks(&guard, &holdings);
        operator.serve(checks, operator::metrics(&holdings), stop.clone());
    }
    let scheme = if tls { "https" } else { "http" };
    announce(&[format!("{scheme}://{address}")])?;
    let service = tower::service_fn(move |request: Request<Body<Incoming>>| {
        let holdings = holdings.clone();
        async move { Ok::<_, Infallible>(routes::answer(&holdings, request).await) }
    });
    let served = Server::new(guard.clone())
        .with_graceful_shutdown(stop.cancelled_owned())
        .with_drain_deadline(*arguments.process.drain)
        .serve(listener, service)
        .await;
    process::finish(&guard, served).await
}
