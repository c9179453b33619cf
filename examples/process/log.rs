use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _, Stderr, Write, stderr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;
use std::{panic, thread};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait to be written. More than that are lost: a program whose log is stuck goes on.
const WAITING: usize = 8192;

/// Time in which the last lines are written at the end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Lines that standard error did not take.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Lines that found no room to wait in.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// The log of the process, which a thread of its own writes.
pub(super) struct Log(WorkerGuard);

/// Logs on standard error, as JSON or, on a terminal, in lines to read. The levels are those of `RUST_LOG`, else
/// `default`.
///
/// Neither a reader that stopped reading nor one that is gone, nor a full disk, stops the process: lines are lost
/// then, and counted.
pub(super) fn init(default: &str) -> Log {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING)
        .thread_name("log")
        .finish(Lossy(stderr()));
    let _ = DROPPED.set(writer.error_counter());
    let is_terminal = stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would be told on standard error, which is what may have failed.
        .log_internal_errors(false)
        .with_ansi(is_terminal)
        .with_writer(writer);
    if is_terminal {
        log.with_target(false).init();
    } else {
        log.json().init();
    }
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(&backtrace);
        tracing::error!(
            backtrace = backtrace.map(tracing::field::display),
            "{panic}"
        );
    }));
    Log(guard)
}

impl Log {
    /// Writes what waits, as far as standard error takes it in time.
    pub(super) fn end(self) {
        let (ended, end) = mpsc::channel();
        let last = thread::Builder::new().spawn(move || {
            drop(self.0);
            let _ = ended.send(());
        });
        if last.is_ok() {
            let _ = end.recv_timeout(LAST_LINES);
        }
    }
}

/// The lines that were lost until now.
pub(super) fn lost() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    REFUSED.load(Ordering::Relaxed) + dropped as u64
}

/// Standard error, where what it does not take is counted and lost.
struct Lossy(Stderr);

impl Write for Lossy {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.write_all(line).is_err() {
            REFUSED.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
