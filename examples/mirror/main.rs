//! A guarded OCI registry mirror that needs nothing else:
//!
//! ```console
//! cargo run --release --example mirror
//! ```
//!
//! It serves pull and push from a store on disk, pulls through what it lacks with `--upstream URL`,
//! and prints how to use it with curl, skopeo and containerd. Everything that decides who may do
//! what is [`portcullis::Guard`]; what is here is the store and the flags.

mod admin;
mod cli;
mod demo;
mod housekeeping;
mod log;
mod routes;
mod serve;
mod store;
mod upstream;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use axum::body::Body;
use axum::http::Request;
use clap::Parser as _;
use portcullis::Guard;
use portcullis::admin::{Admin, Readiness};
use portcullis::config::{Config, ConfigError};
use portcullis::connection::raise_descriptor_limit;
#[cfg(feature = "digest-binding")]
use portcullis::policy::DigestOracle;
use portcullis::policy::TagOracle;
use portcullis::tls::Acceptor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;

use crate::cli::Arguments;
use crate::demo::Demo;
use crate::routes::{Registry, router};
use crate::store::{Callers, Store, Uploads};
use crate::upstream::{PullThrough, Upstream};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A check says what is wrong and nothing else.
    log::init(if arguments.check { "warn" } else { "info" });
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mirror: {}", log::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    // reqwest and rustls leave the choice to the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if arguments.check {
        return check(arguments);
    }
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(%error, "the number of open files is limited to what it was at the start");
    }
    let registry = registry(arguments)?;
    let demo = match &arguments.config {
        Some(_) => None,
        None => Some(Demo::ensure(&arguments.data.join("demo"))?),
    };
    let admin = match arguments.admin {
        // The recorder before the guard, so that it sees the files loaded.
        Some(address) => Some((bind(address).await?, admin::recorder()?)),
        None => None,
    };
    let config = arguments.config.clone().or(demo.as_ref().map(Demo::config));
    let guard = guard(&config.unwrap_or_default(), Some(&registry))?;
    let acceptor = acceptor(&guard)?;
    let listener = bind(arguments.listen).await?;
    let address = listener.local_addr()?;
    guard.report_on(address).log();
    let stop = CancellationToken::new();
    serve::stop_on_signals(stop.clone())?;
    if let Some((listener, metrics)) = admin {
        let store = registry.store.clone();
        let disk = move || match store.disk().problem() {
            Some(problem) => Readiness::NotReady(problem),
            None => Readiness::Ready,
        };
        let admin = Admin::new()
            .with_checks(guard.checks())
            .with_check("disk", disk);
        tokio::spawn(admin::serve(listener, metrics, admin, stop.clone()));
    }
    let (store, uploads) = (registry.store.clone(), registry.uploads.clone());
    tokio::spawn(arguments.housekeeping().run(store, uploads));
    greet(address, demo.as_ref())?;
    let service = ServiceBuilder::new()
        .option_layer(arguments.cors())
        .layer(guard.clone().with_tag_oracle(tag_oracle(&registry)))
        .map_request(|request: Request<_>| request.map(Body::new))
        .service(router(registry));
    let served = serve::serve(listener, acceptor, service, stop, *arguments.drain).await;
    #[cfg(feature = "digest-binding")]
    guard.save()?;
    #[cfg(feature = "redis")]
    guard.flush().await;
    if !served {
        tracing::warn!("the drain's time is over: what was under way is cut");
        return Ok(ExitCode::FAILURE);
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration and everything that it names, and says what it means.
fn check(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let demo = arguments.data.join("demo").join("mirror.toml");
    let guard = guard(arguments.config.as_ref().unwrap_or(&demo), None)?;
    acceptor(&guard)?;
    if let Some((options, _)) = arguments.upstream() {
        Upstream::new(&options)?;
    }
    print!("{}", guard.report());
    Ok(ExitCode::SUCCESS)
}

/// Without a registry the guard is only checked.
#[cfg_attr(not(feature = "digest-binding"), expect(unused_variables))]
fn guard(file: &Path, registry: Option<&Registry>) -> Result<Guard, ConfigError> {
    let builder = Guard::builder();
    #[cfg(feature = "digest-binding")]
    let builder = match registry {
        Some(registry) => builder.digest_oracle(digest_oracle(registry)),
        None => builder.digest_oracle(|_: Option<&str>, _: &str, _: &str| false),
    };
    Ok(builder.configure(&Config::load(file)?)?.build())
}

fn acceptor(guard: &Guard) -> Result<Acceptor, Box<dyn Error>> {
    let acceptor = guard.acceptor().cloned();
    Ok(acceptor.ok_or("[tls] is missing: the mirror serves nothing in the clear")?)
}

fn registry(arguments: &Arguments) -> Result<Registry, Box<dyn Error>> {
    let upstream = arguments.upstream();
    let upstream =
        upstream.map(|(options, ttl)| Ok::<_, Box<dyn Error>>((Upstream::new(&options)?, ttl)));
    let upstream = upstream.transpose()?;
    let store = Store::open(&arguments.data, arguments.limits())?;
    let pull = upstream.map(|(upstream, ttl)| PullThrough::new(store.clone(), upstream, ttl));
    Ok(Registry {
        uploads: Uploads::open(&store)?,
        callers: Callers::default(),
        store,
        pull,
        namespace: arguments.namespace().map(Into::into),
    })
}

/// Tells the policy which tags there are: of what it does not have, a mirror cannot tell.
fn tag_oracle(registry: &Registry) -> impl TagOracle + 'static {
    let store = registry.store.clone();
    let knows_all = registry.pull.is_none();
    move |_: Option<&str>, repository: &str, tag: &str| match store.tag(repository, tag) {
        Ok(Some(_)) => Some(true),
        Ok(None) if knows_all => Some(false),
        _ => None,
    }
}

/// Tells the policy which digests a repository has.
#[cfg(feature = "digest-binding")]
fn digest_oracle(registry: &Registry) -> impl DigestOracle + 'static {
    let store = registry.store.clone();
    move |_: Option<&str>, repository: &str, digest: &str| {
        let Ok(digest) = digest.parse() else {
            return false;
        };
        // What cannot be read is not given.
        store.has_manifest(repository, &digest).unwrap_or(false)
            || store.has_blob(repository, &digest).unwrap_or(false)
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    let bound = TcpListener::bind(address).await;
    Ok(bound.map_err(|error| format!("{address}: {error}"))?)
}

/// The line that scripts wait for, and how to pull.
fn greet(address: SocketAddr, demo: Option<&Demo>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on https://{address}")?;
    if let Some(demo) = demo {
        write!(out, "{}", demo.how_to_pull(address))?;
    }
    out.flush()
}
