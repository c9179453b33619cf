use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{AccessEvent, Sink};
use crate::util::calendar;

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
/// use std::fs::File;
///
/// use portcullis::access_log::{AccessLogLayer, JsonLines};
///
/// # fn main() -> std::io::Result<()> {
/// let file = File::options().create(true).append(true).open("/var/log/registry/access.jsonl")?;
/// let log = JsonLines::new(file)?;
/// let layer = AccessLogLayer::new().with_sink(log.clone());
/// // … serve …
/// log.flush();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct JsonLines(Arc<Handle>);

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
        Ok(Self(Arc::new(Handle {
            shared,
            thread: Some(thread),
        })))
    }

    /// Returns once every line up to now was handed to the writer, and the writer was flushed. Blocks.
    pub fn flush(&self) {
        let shared = &*self.0.shared;
        let mut state = shared.lock();
        while !state.is_closed && !state.is_all_written() {
            state = wait(&shared.emptied, state);
        }
    }
}

impl Sink for JsonLines {
    fn write(&self, event: &AccessEvent<'_>) {
        let mut line = Vec::with_capacity(1024);
        // Only a writer or a map with strange keys could fail.
        if serde_json::to_writer(&mut line, event).is_err() {
            return;
        }
        line.push(b'\n');
        let shared = &*self.0.shared;
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
        f.debug_struct("JsonLines").finish_non_exhaustive()
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

impl Serialize for AccessEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut to = Fields(serializer.serialize_map(None)?);
        to.always("timestamp", &Rfc3339(self.timestamp))?;
        to.put("client.address", self.client_address.as_ref())?;
        to.put("client.port", self.client_port.as_ref())?;
        to.put("network.peer.address", self.peer_address.as_ref())?;
        to.put("principal", self.principal.as_ref())?;
        to.always("http.request.method", self.method)?;
        to.put(
            "http.request.method_original",
            self.method_original.as_ref(),
        )?;
        to.put("url.scheme", self.scheme)?;
        to.always("url.path", &self.path)?;
        to.put("url.query", self.query.as_ref())?;
        to.put("server.address", self.server_address.as_ref())?;
        to.put("server.port", self.server_port.as_ref())?;
        to.always("network.protocol.version", self.protocol_version)?;
        to.put("user_agent.original", self.user_agent.as_ref())?;
        to.put("oci.endpoint", self.endpoint)?;
        to.put("oci.action", self.action)?;
        to.put("oci.registry", self.registry.as_ref())?;
        to.put("oci.repository", self.repository.as_ref())?;
        to.put("oci.reference", self.reference.as_ref())?;
        to.put("oci.digest", self.digest.as_ref())?;
        to.put("http.response.status_code", self.status.as_ref())?;
        to.put("refusal.reason", self.refusal_reason)?;
        to.put("refusal.detail", self.refusal_detail.as_ref())?;
        to.put("error.type", self.error_type)?;
        to.put("shadow.verdict", self.shadow_verdict)?;
        to.put("shadow.detail", self.shadow_detail.as_ref())?;
        to.put("mount.declined", self.mount_declined.as_ref())?;
        to.put("revocation", self.revocation)?;
        to.always("http.request.body.size", &self.request_body_size)?;
        to.always("http.response.body.size", &self.response_body_size)?;
        to.always("http.server.request.duration", &self.duration.as_secs_f64())?;
        to.seconds("time_to_first_byte", self.time_to_first_byte)?;
        to.seconds("throttled", self.throttled)?;
        to.put("tls.protocol.version", self.tls_version)?;
        to.put("tls.cipher", self.tls_cipher)?;
        to.put("tls.resumed", self.tls_resumed.as_ref())?;
        to.put("tls.client.subject", self.tls_client_subject.as_ref())?;
        to.put("tls.client.hash.sha256", self.tls_client_sha256.as_ref())?;
        to.put("connection.id", self.connection_id.as_ref())?;
        to.put("request.id", self.request_id)?;
        to.always("outcome", self.outcome)?;
        to.0.end()
    }
}

/// The fields of an event, of which those that do not apply are left out.
struct Fields<M>(M);

impl<M: SerializeMap> Fields<M> {
    fn always(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }

    fn put(
        &mut self,
        name: &str,
        value: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.always(name, value))
    }

    fn seconds(&mut self, name: &str, time: Option<Duration>) -> Result<(), M::Error> {
        self.put(name, time.map(|time| time.as_secs_f64()).as_ref())
    }
}

struct Rfc3339(SystemTime);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&calendar::rfc3339_micros(self.0))
    }
}
