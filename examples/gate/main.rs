//! A gate in front of any registry, unmodified:
//!
//! ```console
//! cargo run --release --example gate -- --config gate.toml --upstream http://127.0.0.1:5000
//! ```
//!
//! [`portcullis::Guard`] decides who may do what, [`portcullis::serve::Server`] serves; what is here is the
//! proxy to the registry and the flags.

#[path = "../mirror/admin.rs"]
mod admin;
mod authorization;
mod cli;
#[path = "../mirror/log.rs"]
mod log;
mod proxy;
#[path = "../mirror/signals.rs"]
mod signals;

use std::convert::Infallible;
use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use http::Request;
use portcullis::admin::Admin;
use portcullis::config::Config;
use portcullis::serve::{Incoming, Server};
use portcullis::{Body, Guard};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::authorization::AuthorizationFile;
use crate::cli::Arguments;
use crate::proxy::{Health, Proxy, Upstream};

/// How often the registry is asked whether it is there, and for how long it is waited for.
const PROBE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(2));

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A check says what is wrong and nothing else.
    log::init(if arguments.check { "warn" } else { "info" });
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gate: {}", log::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    // rustls leaves the choice to the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let metrics = match arguments.admin {
        // Before the guard, so that its files are seen loaded.
        Some(address) if !arguments.check => Some((bind(address).await?, admin::recorder()?)),
        _ => None,
    };
    let guard = Guard::builder()
        .configure(&Config::load(&arguments.config)?)?
        .build();
    must_be_meant(arguments, &guard)?;
    let proxy = proxy(arguments)?;
    if arguments.check {
        print!("{}", guard.report_on(arguments.listen));
        return Ok(ExitCode::SUCCESS);
    }
    let listener = bind(arguments.listen).await?;
    let address = listener.local_addr()?;
    guard.report_on(address).log();
    tracing::info!(upstream = %proxy.upstream(), "passes on what it lets in");
    let stop = CancellationToken::new();
    signals::stop_on_signals(stop.clone())?;
    let health = Health::new();
    tokio::spawn(probe(proxy.clone(), health.clone()));
    if let Some((listener, metrics)) = metrics {
        let readiness = move || health.readiness();
        let admin = Admin::new()
            .with_checks(guard.checks())
            .with_check("upstream", readiness);
        tokio::spawn(admin::serve(listener, metrics, admin, stop.clone()));
    }
    greet(&guard, address)?;
    let service = tower::service_fn(move |request: Request<Body<Incoming>>| {
        let proxy = proxy.clone();
        async move { Ok::<_, Infallible>(proxy.call(request).await) }
    });
    let served = Server::new(guard.clone())
        .with_graceful_shutdown(stop.cancelled_owned())
        .with_drain_deadline(*arguments.drain)
        .serve(listener, service)
        .await;
    #[cfg(feature = "digest-binding")]
    guard.save()?;
    #[cfg(feature = "redis")]
    guard.flush().await;
    if let Err(unfinished) = served {
        tracing::warn!("{unfinished}");
        return Ok(ExitCode::FAILURE);
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Serving tokens and images in the clear on an address that others reach must be asked for by name.
fn must_be_meant(arguments: &Arguments, guard: &Guard) -> Result<(), String> {
    let ip = arguments.listen.ip().to_canonical();
    if guard.acceptor().is_none() && !ip.is_loopback() && !arguments.clear {
        return Err(format!(
            "{} would be served in the clear, for the configuration has no [tls]; say --clear if that is meant",
            arguments.listen
        ));
    }
    Ok(())
}

fn proxy(arguments: &Arguments) -> Result<Proxy<Body<Incoming>>, Box<dyn Error>> {
    let to = &arguments.to;
    let upstream = Upstream::parse(&arguments.upstream, || to.tls().watch())?;
    let mut options = to.options();
    if let Some(file) = &to.authorization_file {
        options.authorization = Some(AuthorizationFile(file.clone()).watch()?);
    }
    Ok(Proxy::new(upstream, options))
}

async fn probe(proxy: Proxy<Body<Incoming>>, health: Health) {
    let (pause, timeout) = PROBE;
    let mut interval = tokio::time::interval(pause);
    loop {
        interval.tick().await;
        let found = proxy.probe(timeout).await;
        health.note(proxy.upstream(), found);
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    let bound = TcpListener::bind(address).await;
    Ok(bound.map_err(|error| format!("{address}: {error}"))?)
}

/// The line that scripts wait for.
fn greet(guard: &Guard, address: SocketAddr) -> std::io::Result<()> {
    let scheme = if guard.acceptor().is_some() {
        "https"
    } else {
        "http"
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {scheme}://{address}")?;
    out.flush()
}
