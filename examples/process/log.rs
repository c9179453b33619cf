use std::error::Error;
use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

/// Logs on standard error, as JSON or, on a terminal, in lines to read. The levels are those of `RUST_LOG`, else
/// `default`.
pub(super) fn init(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    if stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.json().init();
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Some errors have their cause's text in their own.
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
