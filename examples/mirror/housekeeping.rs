//! Keeps the store in order while the mirror serves.

use std::time::Duration;

use tokio::time::{Instant, interval, sleep, sleep_until};

use crate::store::{Collection, Freed, Store, StoreError, Uploads};

/// How many bytes a second a scrub reads.
const PACE: u64 = 32 * 1024 * 1024;

/// How soon room is made again, at the soonest, where too little could go.
const PAUSE: Duration = Duration::from_millis(100);

/// What is done in the background, for as long as the process lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Housekeeping {
    /// After what time an upload that no client goes on with is removed, and so is a blob to which no
    /// manifest refers.
    pub(crate) unreferenced: Duration,
    /// After what time a manifest without a tag is removed, if it was not used.
    pub(crate) untagged: Option<Duration>,
    /// How often everything is read again.
    pub(crate) scrub: Duration,
}

impl Housekeeping {
    /// Frees what may go, keeps the store within its limit, and looks for damage.
    pub(crate) async fn run(self, store: Store, uploads: Uploads) {
        let hour = Duration::from_secs(60 * 60);
        let shortest = self.untagged.unwrap_or(hour).min(self.unreferenced);
        let mut sweep = interval(shortest.clamp(Duration::from_secs(1), hour));
        // Not right after a restart, when the clients come back.
        let mut scrub = Instant::now() + self.scrub;
        loop {
            let done = tokio::select! {
                _ = sweep.tick() => self.sweep(&store, &uploads).await,
                () = store.disk().pressed() => {
                    let began = Instant::now();
                    let done = store.run(Store::keep_within).await;
                    // Each time is a walk over all of it, and what was pushed may be too much by itself.
                    if store.disk().surplus() > 0 {
                        sleep(PAUSE.max(10 * began.elapsed())).await;
                    }
                    if matches!(done, Ok(true)) {
                        store.disk().press();
                    }
                    done.map(drop)
                }
                () = sleep_until(scrub) => {
                    let done = check(&store).await;
                    scrub = Instant::now() + self.scrub;
                    done
                }
            };
            if let Err(error) = done {
                tracing::warn!(%error, "the store could not be kept in order; it is tried again");
            }
        }
    }

    async fn sweep(self, store: &Store, uploads: &Uploads) -> Result<(), StoreError> {
        let removed = uploads.expire(self.unreferenced).await?;
        if removed > 0 {
            tracing::info!(removed, "uploads that no client went on with are removed");
        }
        let collection = Collection {
            unreferenced: self.unreferenced,
            untagged: self.untagged,
        };
        let freed = store.run(move |store| store.collect(collection)).await?;
        if freed.manifests + freed.blobs > 0 {
            let Freed {
                manifests,
                blobs,
                bytes,
            } = freed;
            tracing::info!(
                manifests,
                blobs,
                bytes,
                "what nothing referred to is removed"
            );
        }
        store.run(Store::keep_within).await.map(drop)
    }
}

async fn check(store: &Store) -> Result<(), StoreError> {
    let found = store.scrub(PACE).await?;
    tracing::info!(
        blobs = found.blobs,
        manifests = found.manifests,
        damaged = found.damaged,
        "everything on the disk was read again"
    );
    Ok(())
}
