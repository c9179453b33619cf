use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use portcullis::Guard;
use portcullis::serve::Unfinished;
use tokio::runtime::Runtime;

use super::error_chain::chain;
use super::log;

/// How a program ends.
pub(crate) type Ended = Result<ExitCode, Box<dyn Error>>;

/// Runs a program to its end. A `check` logs only what is wrong.
pub(crate) fn main(name: &str, check: bool, program: impl Future<Output = Ended>) -> ExitCode {
    let log = log::init(if check { "warn" } else { "info" });
    // rustls and reqwest leave the choice to the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = Runtime::new().map_err(Into::into);
    let ended = runtime.and_then(|runtime| runtime.block_on(program));
    log.end();
    ended.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "{name}: {}", chain(&*error));
        ExitCode::FAILURE
    })
}

/// Prints the lines that scripts wait for, one a port.
pub(crate) fn announce(urls: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for url in urls {
        writeln!(out, "listening on {url}")?;
    }
    out.flush()
}

/// Writes what outlives the process once no request is in flight any more.
pub(crate) async fn finish(guard: &Guard, served: Result<(), Unfinished>) -> Ended {
    #[cfg(feature = "digest-binding")]
    guard.save()?;
    #[cfg(feature = "redis")]
    guard.flush().await;
    #[cfg(not(any(feature = "digest-binding", feature = "redis")))]
    let _ = guard;
    if let Err(unfinished) = served {
        tracing::warn!("{unfinished}");
        return Ok(ExitCode::FAILURE);
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}
