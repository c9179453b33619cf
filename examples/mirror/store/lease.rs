use std::fs;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::error::if_there;
use super::uploads::{Open, Session};
use super::{Digest, Incoming, Sink, Store, StoreError};

/// The right to write to an upload, for one request at a time.
pub(crate) struct Lease {
    session: Arc<Session>,
    open: Arc<Open>,
    guard: SlotGuard,
}

pub(super) type SlotGuard = OwnedMutexGuard<Slot>;

/// An upload's file, as far as a process has it.
#[derive(Default)]
pub(super) enum Slot {
    /// On the disk, if anywhere.
    #[default]
    Unread,
    Open(Box<Incoming>),
    /// Committed or given up. A request that found the session before that finds this.
    Ended,
}

impl Lease {
    pub(super) fn new(session: Arc<Session>, open: Arc<Open>, guard: SlotGuard) -> Self {
        Self {
            session,
            open,
            guard,
        }
    }

    /// How many bytes of the upload have arrived.
    pub(crate) fn length(&self) -> u64 {
        self.session.length.load(Ordering::Acquire)
    }

    /// Cancelled when the client gives the upload up by another request.
    pub(crate) fn given_up(&self) -> CancellationToken {
        self.session.given_up.clone()
    }

    /// Forgets everything after the first `length` bytes.
    pub(crate) fn truncate(&mut self, length: u64) -> Result<(), StoreError> {
        self.incoming()?.truncate(length)
    }

    /// Makes the content a blob of `repository`, if `expected` is its digest. That ends the upload, and
    /// so does another digest: what was announced cannot become of it any more. No request can write
    /// to the file from here on, whatever it found before.
    ///
    /// # Errors
    /// The content has another digest, the upload was given up, or the file system refuses; after the
    /// last, what is on the disk can be committed again.
    pub(crate) fn commit(
        mut self,
        store: &Store,
        repository: &str,
        expected: &Digest,
    ) -> Result<(), StoreError> {
        if self.session.given_up.is_cancelled() {
            return Err(StoreError::UploadUnknown);
        }
        // Should it fail, it is read again: which steps were done, the disk knows.
        let Slot::Open(incoming) = mem::take(&mut *self.guard) else {
            *self.guard = Slot::Ended;
            return Err(StoreError::UploadUnknown);
        };
        let committed = incoming.commit(store, repository, expected);
        match committed {
            Ok(()) => {
                self.end_as_committed(store);
                Ok(())
            }
            Err(error @ StoreError::DigestMismatch { .. }) => {
                self.end(store)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the upload and removes what there is of it.
    ///
    /// # Errors
    /// It has ended before.
    pub(super) fn end(mut self, store: &Store) -> Result<(), StoreError> {
        match mem::replace(&mut *self.guard, Slot::Ended) {
            Slot::Ended => Err(StoreError::UploadUnknown),
            Slot::Open(_) | Slot::Unread => self.remove(store),
        }
    }

    fn end_as_committed(mut self, store: &Store) {
        *self.guard = Slot::Ended;
        if let Err(error) = self.remove(store) {
            // Without data it is none, and expires.
            tracing::warn!(%error, "what is left of an upload that was committed could not be removed");
        }
    }

    fn remove(&self, store: &Store) -> Result<(), StoreError> {
        let directory = self.session.directory(store);
        let removed = if_there(fs::remove_dir_all(&directory), &directory);
        // The files first: who asks for it next looks at the disk.
        self.open.forget(&self.session);
        removed.map(drop)
    }

    fn incoming(&mut self) -> Result<&mut Incoming, StoreError> {
        match &mut *self.guard {
            Slot::Open(incoming) => Ok(incoming),
            Slot::Unread | Slot::Ended => Err(StoreError::UploadUnknown),
        }
    }
}

impl Sink for Lease {
    fn write(&mut self, content: &[u8]) -> Result<(), StoreError> {
        self.incoming()?.write(content)
    }
}
