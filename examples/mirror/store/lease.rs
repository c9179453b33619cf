use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::error::if_there;
use super::uploads::{Session, Sessions};
use super::{Digest, Incoming, Sink, Store, StoreError};

/// The right to write to an upload, for one request at a time.
pub(crate) struct Lease {
    session: Arc<Session>,
    sessions: Arc<Sessions>,
    guard: OwnedMutexGuard<Slot>,
}

/// An upload's content; `None` once it is a blob or was given up. A request that found the session before
/// that finds this.
pub(super) type Slot = Option<Box<Incoming>>;

impl Lease {
    pub(super) fn new(
        session: Arc<Session>,
        sessions: Arc<Sessions>,
        guard: OwnedMutexGuard<Slot>,
    ) -> Self {
        Self {
            session,
            sessions,
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
        let committed = self.incoming()?.try_commit(store, repository, expected);
        match committed {
            Ok(()) => {
                *self.guard = None;
                self.session.committed.get_or_init(|| expected.clone());
                if let Err(error) = self.remove(store) {
                    // Without data it is none, and is removed at the next start.
                    tracing::warn!(%error, "what is left of an upload that was committed could not be removed");
                }
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
        self.guard.take().ok_or(StoreError::UploadUnknown)?;
        let removed = self.remove(store);
        self.sessions.forget(&self.session);
        removed
    }

    fn remove(&self, store: &Store) -> Result<(), StoreError> {
        let directory = self.session.directory(store);
        if_there(fs::remove_dir_all(&directory), &directory).map(drop)
    }

    fn incoming(&mut self) -> Result<&mut Incoming, StoreError> {
        self.guard.as_deref_mut().ok_or(StoreError::UploadUnknown)
    }
}

impl Sink for Lease {
    fn write(&mut self, content: &[u8]) -> Result<(), StoreError> {
        self.incoming()?.write(content)
    }
}
