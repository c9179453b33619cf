use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::event_json;
use super::line_writer::LineWriter;
use super::log_file::LogFile;
use super::{AccessEvent, Sink};

/// Writes the access log as JSON into a file, a pipe or a socket of its own: one object a line, `timestamp`
/// (RFC 3339, UTC, microseconds) first, then the fields of the [module](super)'s table, without `target` and
/// `level`. No subscriber of [`tracing`] is needed.
///
/// A thread does the writing, so a slow disk holds up no request. It writes a line within 10 ms, together with
/// those that have come meanwhile; a process that is killed loses these. Where 1 MiB waits to be written, requests
/// wait at their end rather than lose a line. Lines that the writer refuses with an error are lost, and an error is
/// logged.
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
    lines: Arc<LineWriter>,
    is_compact: bool,
}

impl JsonLines {
    /// Makes a sink that writes into `writer`, which needs no buffer.
    ///
    /// # Errors
    /// Returns an error if the system starts no thread.
    pub fn new(writer: impl Write + Send + 'static) -> io::Result<Self> {
        Ok(Self {
            lines: Arc::new(LineWriter::start(writer)?),
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
        self.lines.flush();
    }
}

impl JsonLines {
    /// Writes an event by way of this buffer.
    fn push(&self, event: &AccessEvent<'_>, line: &mut Vec<u8>) {
        line.clear();
        // Only a writer or a map with strange keys could fail.
        if event_json::write(event, self.is_compact, line).is_ok() {
            self.lines.push(line);
        }
    }
}

impl Sink for JsonLines {
    fn write(&self, event: &AccessEvent<'_>) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        // A line can be written while the thread ends and its locals are gone.
        let written = LINE.try_with(|line| self.push(event, &mut line.borrow_mut()));
        if written.is_err() {
            self.push(event, &mut Vec::new());
        }
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines")
            .field("is_compact", &self.is_compact)
            .finish_non_exhaustive()
    }
}
