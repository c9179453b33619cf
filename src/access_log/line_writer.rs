use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;

/// How many bytes may wait for the thread.
const BUFFER: usize = 1 << 20;

/// How long a line waits for others, so that one wake-up of the thread and one write serve all of them.
const GATHER: Duration = Duration::from_millis(10);

/// So many bytes wait for no more.
const BATCH: usize = BUFFER / 4;

/// A thread that writes lines, so that a slow disk holds up no request. When it is dropped, everything is
/// written first.
pub(super) struct LineWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something for the thread to do.
    filled: Condvar,
    /// Lines were taken or written.
    emptied: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    thread: Waits,
    /// Bytes that were ever pushed.
    pushed: u64,
    /// Bytes that the writer was given, or that are lost.
    written: u64,
    /// Callers of `flush` that wait.
    flushing: usize,
    /// No line is written any more.
    is_closed: bool,
}

/// What the thread waits for.
#[derive(Default)]
enum Waits {
    /// The end of what it does.
    #[default]
    Nothing,
    /// The first line.
    Line,
    /// Further lines, and no longer than [`GATHER`].
    Batch,
}

impl LineWriter {
    pub(super) fn start(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&of_thread, writer))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Hands a line over. Waits only where the buffer is full.
    pub(super) fn push(&self, line: &[u8]) {
        let shared = &*self.shared;
        let mut queue = shared.lock();
        while !queue.is_closed && queue.lines.len() >= BUFFER {
            queue = wait(&shared.emptied, queue);
        }
        if queue.is_closed {
            return;
        }
        queue.lines.extend_from_slice(line);
        queue.pushed += line.len() as u64;
        let wakes = match queue.thread {
            Waits::Nothing => false,
            Waits::Line => true,
            Waits::Batch => queue.lines.len() >= BATCH,
        };
        if wakes {
            // Only once: a wake-up is a system call.
            queue.thread = Waits::Nothing;
            drop(queue);
            shared.filled.notify_one();
        }
    }

    /// Returns once every line up to now was handed to the writer, and the writer was flushed. Blocks.
    pub(super) fn flush(&self) {
        let shared = &*self.shared;
        let mut queue = shared.lock();
        let pushed = queue.pushed;
        queue.flushing += 1;
        shared.filled.notify_one();
        while !queue.is_closed && queue.written < pushed {
            queue = wait(&shared.emptied, queue);
        }
        queue.flushing -= 1;
    }
}

impl Queue {
    /// Whether the thread is to write what there is.
    fn is_urgent(&self) -> bool {
        self.is_closed || self.flushing > 0 || self.lines.len() >= BATCH
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// Waits for lines and takes them, in exchange for an empty buffer; `false` once there will be none.
    fn take(&self, lines: &mut Vec<u8>) -> bool {
        let mut queue = self.lock();
        while queue.lines.is_empty() && !queue.is_closed {
            queue.thread = Waits::Line;
            queue = wait(&self.filled, queue);
        }
        let end = Instant::now() + GATHER;
        while !queue.is_urgent() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue.thread = Waits::Batch;
            let waited = self.filled.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.thread = Waits::Nothing;
        mem::swap(lines, &mut queue.lines);
        drop(queue);
        // There is room again.
        self.emptied.notify_all();
        !lines.is_empty()
    }

    /// Notes that so many bytes are written or lost.
    fn done(&self, bytes: usize) {
        self.lock().written += bytes as u64;
        self.emptied.notify_all();
    }
}

fn wait<'a>(condvar: &Condvar, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
    condvar.wait(queue).unwrap_or_else(PoisonError::into_inner)
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.shared.close();
        // A writer that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
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
    while shared.take(&mut lines) {
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
        shared.done(lines.len());
        lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    /// A writer that waits until it may go on.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Once it was let go it is never stuck again.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_more_waits_for_the_thread_than_the_buffer_holds() {
        let line = [b'x'; 1024];
        let (release, wait) = sync_channel(0);
        let writer = LineWriter::start(Stuck(wait)).unwrap();
        let held = || writer.shared.lock().lines.len();
        thread::scope(|scope| {
            let pushes = scope.spawn(|| {
                for _ in 0..4 * BUFFER / line.len() {
                    writer.push(&line);
                }
            });
            while held() < BUFFER && !pushes.is_finished() {
                thread::yield_now();
            }
            let mut most = 0;
            for _ in 0..1_000 {
                thread::yield_now();
                most = held().max(most);
            }
            let is_held_up = !pushes.is_finished();
            // Before a check, or the writer would be waited for in vain.
            drop(release);
            assert!(is_held_up && most < BUFFER + line.len(), "{most}");
        });
        writer.flush();
        assert_eq!(writer.shared.lock().written, 4 * BUFFER as u64);
    }
}
