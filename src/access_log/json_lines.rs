use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::event_json::Compact;
use super::log_file::LogFile;
use super::{AccessEvent, Sink};

/// How many bytes may wait for the writer.
const BUFFER: usize = 1 << 20;

/// Writes the access log as JSON into a file, a pipe or a socket of its own: one object a line, `timestamp`
/// (RFC 3339, UTC, microseconds) first, then the fields of the [module](super)'s table, without `target` and
/// `level`. No subscriber of [`tracing`] is needed.
///
/// A thread does the writing, so a slow disk holds up no request. It writes each line at once, and under load
/// all lines that have come meanwhile in one go. Where 1 MiB waits to be written, requests wait at their end
/// rather than lose a line. Lines that the writer refuses with an error are lost, and an error is logged.
///
/// `Clone` costs an `Arc`. When the last clone goes, everything is written first.
///
/// ```no_run
/// use portcullis::access_log::{AccessLogLayer, JsonLines};
///
/// # fn main() -> std::io::Result<()> {
/// let log = JsonLines::open("/var/log/registry/access.jsonl")?;
/// let layer = AccessLogLayer::new().with_sink(log.clone());
/// // … serve …
/// log.flush();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct JsonLines {
    handle: Arc<Handle>,
    is_compact: bool,
}

/// Ends the thread once nothing hands lines over any more.
struct Handle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Queue>,
    /// There are lines to write, or there will be none.
    filled: Condvar,
    /// Lines were taken or written.
    emptied: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// The thread waits for lines.
    is_idle: bool,
    /// No line is written any more.
    is_closed: bool,
}

impl JsonLines {
    /// Makes a sink that writes into `writer`, which needs no buffer.
    ///
    /// # Errors
    /// Returns an error if the system starts no thread.
    pub fn new(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&of_thread, writer))?;
        let thread = Some(thread);
        Ok(Self {
            handle: Arc::new(Handle { shared, thread }),
            is_compact: false,
        })
    }

    /// Makes a sink that appends to the file `path`, which is made if it is not there. When the file is moved
    /// away or removed, as log rotation does, the next line begins a new one under its name.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, or the system starts no thread.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        Self::new(LogFile::open(path.into())?)
    }

    /// Sets whether a line has only who asked for what, and what came of it: `timestamp`, `client.address`,
    /// `principal`, `http.request.method`, `url.path`, `url.query`, `http.response.status_code`, `refusal.reason`,
    /// `refusal.detail`, `http.request.body.size`, `http.response.body.size`, `http.server.request.duration` and
    /// `outcome`. Default: no, it has all fields that apply.
    pub fn with_compact(mut self, compact: bool) -> Self {
        self.is_compact = compact;
        self
    }

    /// Returns once every line up to now was handed to the writer, and the writer was flushed. Blocks.
    pub fn flush(&self) {
        let shared = &*self.handle.shared;
        let mut state = shared.lock();
        while !state.is_closed && !state.is_all_written() {
            state = wait(&shared.emptied, state);
        }
    }
}

impl Sink for JsonLines {
    fn write(&self, event: &AccessEvent<'_>) {
        let mut line = Vec::with_capacity(1024);
        let written = if self.is_compact {
            serde_json::to_writer(&mut line, &Compact(event))
        } else {
            serde_json::to_writer(&mut line, event)
        };
        // Only a writer or a map with strange keys could fail.
        if written.is_err() {
            return;
        }
        line.push(b'\n');
        let shared = &*self.handle.shared;
        let mut state = shared.lock();
        while !state.is_closed && state.lines.len() >= BUFFER {
            state = wait(&shared.emptied, state);
        }
        if state.is_closed {
            return;
        }
        state.lines.extend_from_slice(&line);
        if mem::take(&mut state.is_idle) {
            shared.filled.notify_one();
        }
    }
}

impl Queue {
    fn is_all_written(&self) -> bool {
        self.is_idle && self.lines.is_empty()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }
}

fn wait<'a>(condvar: &Condvar, state: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
    condvar.wait(state).unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
        // A writer that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines")
            .field("is_compact", &self.is_compact)
            .finish_non_exhaustive()
    }
}

/// Lets go of those that wait, however the thread ends.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn write_all(shared: &Shared, mut writer: impl Write) {
    let _closing = Closing(shared);
    let mut lines = Vec::new();
    let mut lost = 0_usize;
    loop {
        let mut state = shared.lock();
        while state.lines.is_empty() && !state.is_closed {
            state.is_idle = true;
            shared.emptied.notify_all();
            state = wait(&shared.filled, state);
        }
        if state.lines.is_empty() {
            return;
        }
        mem::swap(&mut lines, &mut state.lines);
        state.is_idle = false;
        drop(state);
        shared.emptied.notify_all();
        match writer.write_all(&lines).and_then(|()| writer.flush()) {
            Ok(()) if lost == 0 => {}
            Ok(()) => {
                tracing::warn!(
                    lost,
                    "the access log is written again, lines before are lost"
                );
                lost = 0;
            }
            Err(error) => {
                if lost == 0 {
                    tracing::error!(
                        %error,
                        "the access log cannot be written: its lines are lost until it can be"
                    );
                }
                lost += lines.split(|byte| *byte == b'\n').count() - 1;
            }
        }
        lines.clear();
    }
}
