//! Reads a blob that is asked for and was not read since this process began: a disk may have damaged it, and what
//! is damaged is taken away before any client has all of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::checked::{Hashed, Identity};
use super::error::At as _;
use super::open::{Found, open};
use super::{Blob, Caller, Digest, Store, StoreError, Use};

/// How much is read in one turn.
const PIECE: u64 = 4 * 1024 * 1024;
/// How many pieces are read at once.
const TURNS: usize = 4;

/// The checks that run, one a file.
pub(super) struct Checks {
    running: Mutex<HashMap<Identity, Weak<Outcome>>>,
    turns: Semaphore,
}

type Outcome = watch::Receiver<Option<Result<(), Arc<StoreError>>>>;

/// A check of a blob, which goes on for as long as this is kept. `Clone` costs an `Arc`.
#[derive(Clone)]
pub(crate) struct Check(Arc<Outcome>);

/// What is checked.
#[derive(Clone)]
struct Target {
    link: PathBuf,
    digest: Digest,
    identity: Identity,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            turns: Semaphore::new(TURNS),
        }
    }
}

impl Check {
    /// Waits for the end of the check.
    ///
    /// # Errors
    /// [`StoreError::BlobUnknown`] if what was opened is not what its digest says: it is not there any more, and what
    /// is now has to be looked up again. All else leaves open what it is.
    pub(crate) async fn wait(&self) -> Result<(), StoreError> {
        let mut outcome = (*self.0).clone();
        let ended = outcome.wait_for(Option::is_some).await;
        let ended = ended.map_err(|_| StoreError::Stopping)?;
        judged(ended.as_ref())
    }

    /// What is known of it now.
    ///
    /// # Errors
    /// As [`Check::wait`].
    pub(crate) fn so_far(&self) -> Result<(), StoreError> {
        judged(self.0.borrow().as_ref())
    }
}

fn judged(outcome: Option<&Result<(), Arc<StoreError>>>) -> Result<(), StoreError> {
    match outcome {
        Some(Err(error)) if matches!(**error, StoreError::BlobUnknown) => {
            Err(StoreError::BlobUnknown)
        }
        Some(Err(error)) => Err(StoreError::Check(Arc::clone(error))),
        Some(Ok(())) | None => Ok(()),
    }
}

impl Checks {
    fn running(&self, identity: Identity) -> Option<Check> {
        let running = self.running.lock();
        running.get(&identity)?.upgrade().map(Check)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.running.lock().len()
    }

    fn ended(&self, identity: Identity, own: &Weak<Outcome>) {
        let mut running = self.running.lock();
        // Another may have begun since the last client left this one.
        if running
            .get(&identity)
            .is_some_and(|known| known.ptr_eq(own))
        {
            running.remove(&identity);
        }
    }
}

impl Store {
    #[cfg(test)]
    pub(crate) fn running_checks(&self) -> usize {
        self.checks().count()
    }

    /// The check of a blob: one for all who want it at once. A caller waits only for its own other checks to let
    /// this one begin.
    pub(crate) async fn check_blob(&self, caller: &Caller, blob: &Blob) -> Check {
        let identity = blob.identity;
        if let Some(check) = self.checks().running(identity) {
            return check;
        }
        let place = caller.place(Use::Check).await;
        let mut running = self.checks().running.lock();
        if let Some(check) = running.get(&identity).and_then(Weak::upgrade) {
            return Check(check);
        }
        let (sender, outcome) = watch::channel(None);
        let outcome = Arc::new(outcome);
        let own = Arc::downgrade(&outcome);
        running.insert(identity, Weak::clone(&own));
        let target = Target {
            link: blob.path.clone(),
            digest: blob.digest.clone(),
            identity,
        };
        let store = self.clone();
        tokio::spawn(async move {
            let ended = store.read_through(target, &sender, place).await;
            // No later client joins a check that has ended.
            store.checks().ended(identity, &own);
            sender.send_replace(ended.map(|ended| ended.map_err(Arc::new)));
        });
        Check(outcome)
    }

    /// Reads a file piece by piece, in turn with other checks; `None` if all clients leave before the end. What was
    /// read until then counts for the next.
    async fn read_through(
        &self,
        target: Target,
        clients: &watch::Sender<Option<Result<(), Arc<StoreError>>>>,
        _place: Option<OwnedSemaphorePermit>,
    ) -> Option<Result<(), StoreError>> {
        loop {
            let turn = tokio::select! {
                biased;
                () = clients.closed() => return None,
                turn = self.checks().turns.acquire() => turn,
            };
            let target = target.clone();
            let read = move |store: &Self| store.check_piece(&target);
            let read = self.run_for(None, read).await;
            drop(turn);
            match read {
                Ok(false) => {}
                ended => return Some(ended.map(drop)),
            }
        }
    }

    /// Reads a piece more of a file; returns whether that was the last and the digest is right.
    fn check_piece(&self, target: &Target) -> Result<bool, StoreError> {
        let Target {
            link,
            digest,
            identity,
        } = target;
        let Some(Found::File(file, _)) = open(link)? else {
            return Err(StoreError::BlobUnknown);
        };
        let begun = {
            let _uses = self.uses();
            let metadata = file.metadata().at(link)?;
            if Identity::of(&metadata) != *identity {
                return Err(StoreError::BlobUnknown);
            }
            self.checked().begin(digest, &metadata)
        };
        let Some((mut hasher, at)) = begun else {
            return Ok(true);
        };
        let read = hasher.read_part(&file, at, PIECE).at(link)?;
        self.checked().count_read(read);
        let last = read < PIECE;
        if last && hasher.finish() != *digest {
            self.checked().forget(*identity);
            self.set_aside(digest, identity.inode)?;
            return Err(StoreError::BlobUnknown);
        }
        let so_far = if last {
            Hashed::Whole
        } else {
            Hashed::Part(hasher, at + read)
        };
        let _uses = self.uses();
        let metadata = file.metadata().at(link)?;
        self.checked().came(digest, &metadata, so_far);
        Ok(last)
    }
}
