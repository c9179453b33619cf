use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use slab::Slab;
use tokio::runtime::Handle;

use super::abort::Aborter;
use super::limits::MinProgress;
use super::permits::Permits;
use super::progress::Progress;
use crate::record::{Cut, Record};

/// The responses in flight whose readers must make progress. A body does not see that it is not polled, so one
/// task watches all of them.
#[derive(Debug, Default)]
pub(super) struct Watcher(Mutex<Watching>);

#[derive(Debug, Default)]
struct Watching {
    readers: Slab<Arc<Reader>>,
    looking: bool,
}

/// What a body keeps until it is dropped, or until its reader is too slow.
#[derive(Debug)]
pub(super) enum Stay {
    Counted(#[expect(dead_code, reason = "kept for its drop")] Permits),
    Watched(Box<Watch>),
}

/// A body's side of a reader that is watched.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Arc<Watcher>,
    key: usize,
    reader: Arc<Reader>,
}

#[derive(Debug)]
struct Reader {
    state: Mutex<ReadState>,
    record: Option<Record>,
    aborter: Option<Aborter>,
}

#[derive(Debug)]
struct ReadState {
    progress: Progress,
    permits: Permits,
    over: bool,
    finished: bool,
}

/// The task's presence with its watcher.
struct Looking(Weak<Watcher>);

impl Watcher {
    /// Watches the reader of a body that begins.
    pub(super) fn watch(
        self: &Arc<Self>,
        least: MinProgress,
        permits: Permits,
        record: Option<Record>,
    ) -> Stay {
        let state = ReadState {
            progress: Progress::new(least),
            permits,
            over: false,
            finished: false,
        };
        let reader = Arc::new(Reader {
            state: Mutex::new(state),
            record,
            aborter: Aborter::current(),
        });
        let mut watching = lock(&self.0);
        let key = watching.readers.insert(Arc::clone(&reader));
        // Without a runtime a body is only judged when it is asked for more.
        if !watching.looking
            && let Ok(runtime) = Handle::try_current()
        {
            watching.looking = true;
            runtime.spawn(look(Looking(Arc::downgrade(self))));
        }
        drop(watching);
        Stay::Watched(Box::new(Watch {
            watcher: Arc::clone(self),
            key,
            reader,
        }))
    }

    /// Ends the streams that are too slow, and returns when to look again; `None` while there is no reader.
    fn look(&self) -> Option<Duration> {
        let mut watching = lock(&self.0);
        if watching.readers.is_empty() {
            watching.looking = false;
            return None;
        }
        let readers = watching
            .readers
            .iter()
            .map(|(_, reader)| Arc::clone(reader));
        let readers: Vec<_> = readers.collect();
        drop(watching);
        readers.iter().map(|reader| reader.look()).min()
    }
}

async fn look(looking: Looking) {
    while let Some(pause) = looking.0.upgrade().and_then(|watcher| watcher.look()) {
        tokio::time::sleep(pause).await;
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        // The runtime may have ended the task; another may go on.
        if let Some(watcher) = self.0.upgrade() {
            lock(&watcher.0).looking = false;
        }
    }
}

impl Reader {
    fn look(&self) -> Duration {
        let mut state = lock(&self.state);
        let pause = state.progress.pause();
        if !state.over && state.progress.is_stalled() {
            self.end(state);
        }
        pause
    }

    /// Ends a transfer as far as that can be done from outside: what it keeps others from is free, the
    /// record says why, the body fails when it is asked again, and its task is aborted if it can be.
    fn end(&self, mut state: MutexGuard<'_, ReadState>) {
        state.over = true;
        let permits = mem::take(&mut state.permits);
        drop(state);
        drop(permits);
        if let Some(record) = &self.record {
            record.cut(Cut::TooSlow);
        }
        tracing::info!(
            cut = Cut::TooSlow.label(),
            "transfer ended: {}",
            Cut::TooSlow
        );
        if let Some(aborter) = &self.aborter {
            aborter.abort();
        }
    }
}

impl Watch {
    /// Notes that the consumer asks for a frame.
    ///
    /// # Errors
    /// The transfer was ended meanwhile.
    fn polled(&self) -> Result<(), Cut> {
        let mut state = lock(&self.reader.state);
        if state.over {
            return Err(Cut::TooSlow);
        }
        state.progress.polled();
        Ok(())
    }

    fn judge(&self) -> Result<(), Cut> {
        let mut state = lock(&self.reader.state);
        if state.progress.is_too_slow() {
            self.reader.end(state);
            return Err(Cut::TooSlow);
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let held = lock(&self.watcher.0).readers.try_remove(self.key);
        drop(held);
        let mut state = lock(&self.reader.state);
        // A reader that took nothing at all was never seen again: its connection ended it.
        let stalled = !state.over && !state.finished && state.progress.is_stalled();
        if stalled {
            return self.reader.end(state);
        }
        let permits = mem::take(&mut state.permits);
        drop(state);
        drop(permits);
    }
}

impl Stay {
    /// Notes that the consumer asks for a frame.
    ///
    /// # Errors
    /// The transfer was ended meanwhile.
    pub(super) fn polled(&self) -> Result<(), Cut> {
        match self {
            Self::Counted(_) => Ok(()),
            Self::Watched(watch) => watch.polled(),
        }
    }

    /// Judges the reader before it gets more.
    ///
    /// # Errors
    /// It was too slow.
    pub(super) fn judge(&self) -> Result<(), Cut> {
        match self {
            Self::Counted(_) => Ok(()),
            Self::Watched(watch) => watch.judge(),
        }
    }

    /// Notes a frame that the reader gets now.
    pub(super) fn sent(&self, bytes: u64) {
        if let Self::Watched(watch) = self {
            lock(&watch.reader.state).progress.sent(bytes);
        }
    }

    /// Notes that there is no more to come.
    pub(super) fn finished(&self) {
        if let Self::Watched(watch) = self {
            lock(&watch.reader.state).finished = true;
        }
    }
}

impl Default for Stay {
    fn default() -> Self {
        Self::Counted(Permits::default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
