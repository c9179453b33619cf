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
mod browsers;
mod cli;
mod demo;
mod housekeeping;
#[path = "../process/mod.rs"]
mod process;
mod routes;
mod store;
mod upstream;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser as _;
use portcullis::config::{Config, ConfigError};
#[cfg(feature = "digest-binding")]
use portcullis::policy::DigestOracle;
use portcullis::policy::TagOracle;
use portcullis::serve::{Server, bind};
use portcullis::{Guard, Preset};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;

use crate::cli::Arguments;
use crate::demo::Demo;
use crate::process::{Ended, Operator, announce};
use crate::routes::{Registry, router};
use crate::store::{Callers, Store, Uploads};
use crate::upstream::{PullOptions, PullThrough, Upstream};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    process::main("mirror", arguments.process.check, run(&arguments))
}

async fn run(arguments: &Arguments) -> Ended {
    if arguments.process.check {
        return check(arguments);
    }
    let demo = match &arguments.config {
        Some(_) => None,
        None => Some(Demo::ensure(&arguments.data.join("demo"))?),
    };
    let operator = Operator::open(&arguments.process).await?;
    let config = arguments.config.clone().or(demo.as_ref().map(Demo::config));
    let config = Config::load(config.unwrap_or_default())?;
    let registry = registry(arguments, config.preset())?;
    let guard = guard(&config, Some(&registry))?;
    needs_tls(&guard)?;
    let listener = bind(arguments.listen).await?;
    let address = listener.local_addr()?;
    guard.report_on(address).log();
    tracing::info!(
        bytes = registry.store.disk().used(),
        "{}",
        arguments.store()
    );
    if let Some(pull) = &registry.pull {
        upstream::announce(pull, registry.namespace.as_deref());
    }
    let stop = CancellationToken::new();
    process::stop_on_signals(stop.clone())?;
    if let Some(operator) = operator {
        let checks = admin::checks(&guard, &registry);
        operator.serve(checks, admin::metrics(&registry), stop.clone());
    }
    let (store, uploads) = (registry.store.clone(), registry.uploads.clone());
    tokio::spawn(arguments.housekeeping().run(store, uploads));
    announce(&[format!("https://{address}")])?;
    if let Some(demo) = &demo {
        print!("{}", demo.how_to_pull(address));
    }
    let guard = guard.with_tag_oracle(tag_oracle(&registry));
    let service = ServiceBuilder::new()
        .option_layer(arguments.browsers())
        .layer(guard.clone())
        .service(router(registry));
    let served = Server::new(guard.clone())
        .with_guard_in_service()
        .with_graceful_shutdown(stop.cancelled_owned())
        .with_drain_deadline(*arguments.process.drain)
        .serve(listener, service)
        .await;
    process::finish(&guard, served).await
}

/// Reads the configuration and everything that it names, and says what it means.
fn check(arguments: &Arguments) -> Ended {
    let demo = arguments.data.join("demo").join("mirror.toml");
    let config = Config::load(arguments.config.as_ref().unwrap_or(&demo))?;
    let guard = guard(&config, None)?;
    needs_tls(&guard)?;
    let upstream = arguments
        .upstream()
        .map(|(options, _)| Upstream::new(&options));
    let upstream = upstream.transpose()?;
    print!("{}", guard.report());
    println!("{}", arguments.store());
    if let Some(upstream) = upstream {
        println!("{}", upstream.describe(arguments.namespace().as_deref()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Without a registry the guard is only checked.
#[cfg_attr(not(feature = "digest-binding"), expect(unused_variables))]
fn guard(config: &Config, registry: Option<&Registry>) -> Result<Guard, ConfigError> {
    let builder = Guard::builder();
    #[cfg(feature = "digest-binding")]
    let builder = match registry {
        Some(registry) => builder.digest_oracle(digest_oracle(registry)),
        None => builder.digest_oracle(|_: Option<&str>, _: &str, _: &str| None),
    };
    Ok(builder.configure(config)?.build())
}

fn needs_tls(guard: &Guard) -> Result<(), Box<dyn Error>> {
    let acceptor = guard.acceptor().map(|_| ());
    Ok(acceptor.ok_or("[tls] is missing: the mirror serves nothing in the clear")?)
}

fn registry(arguments: &Arguments, preset: Preset) -> Result<Registry, Box<dyn Error>> {
    let upstream = arguments.upstream();
    let upstream =
        upstream.map(|(options, ttl)| Ok::<_, Box<dyn Error>>((Upstream::new(&options)?, ttl)));
    let upstream = upstream.transpose()?;
    let store = Store::open(&arguments.data, arguments.limits())?;
    let pull = upstream.map(|(upstream, tag_ttl)| {
        let options = PullOptions { tag_ttl, preset };
        PullThrough::new(store.clone(), upstream, options)
    });
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
            return Some(false);
        };
        let manifest = store.has_manifest(repository, &digest);
        let found = [manifest, store.has_blob(repository, &digest)];
        // What cannot be read is not known to be missing.
        match found {
            [Ok(true), _] | [_, Ok(true)] => Some(true),
            [Ok(false), Ok(false)] => Some(false),
            _ => None,
        }
    }
}
