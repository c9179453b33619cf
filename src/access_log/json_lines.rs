use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::event_json;
use super::line_writer::LineWriter;
use super::log_file::LogFile;
use super::{AccessEvent, LogFields, Sink};

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
    fields: LogFields,
}

impl JsonLines {
    /// Makes a sink that writes into `writer`, which needs no buffer.
    ///
    /// # Errors
    /// Returns an error if the system starts no thread.
    pub fn new(writer: impl Write + Send + 'static) -> io::Result<Self> {
        Ok(Self {
            lines: Arc::new(LineWriter::start(writer)?),
            fields: LogFields::default(),
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

    /// Sets which fields a line has. Default: [`LogFields::Full`].
    pub fn with_fields(mut self, fields: LogFields) -> Self {
        self.fields = fields;
        self
    }

    /// Returns once every line up to now was handed to the writer, and the writer was flushed. Blocks.
    pub fn flush(&self) {
        self.lines.flush();
    }
}

impl Sink for JsonLines {
    fn write(&self, event: &AccessEvent<'_>) {
        // Only a writer or a map with strange keys could fail.
        if let Ok(line) = event_json::line(event, self.fields) {
            self.lines.push(&line);
        }
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines")
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}
