use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::file::{self, DigestFile};
use super::table::Table;
use crate::policy::PolicyError;
use crate::telemetry::metrics;

/// Keeps a table in a file, by a thread of its own: requests never wait for a disk.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    /// The thread writes once more and ends when this is dropped.
    _running: Sender<Infallible>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    table: Arc<Table>,
    /// Held while the file is written, so that an older state never takes the place of a newer one.
    writing: Mutex<()>,
    /// Why the last attempt failed.
    failure: Mutex<Option<String>>,
}

impl Keeper {
    pub(super) fn start(file: &DigestFile, table: Arc<Table>) -> Result<Self, PolicyError> {
        file.read_into(&table)?;
        file.probe()?;
        let shared = Arc::new(Shared {
            path: file.path.clone(),
            table,
            writing: Mutex::new(()),
            failure: Mutex::new(None),
        });
        let (running, ended) = mpsc::channel();
        let (kept, interval) = (Arc::clone(&shared), file.options.interval);
        thread::Builder::new()
            .name("portcullis-digests".to_owned())
            .spawn(move || kept.keep(interval, &ended))
            .map_err(|error| PolicyError::NoThread {
                path: file.path.clone(),
                error,
            })?;
        Ok(Self {
            shared,
            _running: running,
        })
    }

    pub(super) fn save(&self) -> Result<(), PolicyError> {
        self.shared.save()
    }

    pub(super) fn path(&self) -> &Path {
        &self.shared.path
    }

    pub(super) fn failure(&self) -> Option<String> {
        let failure = self.shared.failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn keep(&self, interval: Duration, ended: &Receiver<Infallible>) {
        loop {
            let waited = ended.recv_timeout(interval);
            if let Err(error) = self.save() {
                tracing::error!(%error, "what is known of digests is not kept");
            }
            if !matches!(waited, Err(RecvTimeoutError::Timeout)) {
                return;
            }
        }
    }

    fn save(&self) -> Result<(), PolicyError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.table.take_changed() {
            return Ok(());
        }
        let written = file::write(&self.path, &self.table);
        metrics::digests_saved(written.is_ok());
        if written.is_err() {
            self.table.mark_changed();
        }
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) =
            written.as_ref().err().map(ToString::to_string);
        written
    }
}
