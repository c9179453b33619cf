//! How much the store has on the disk, and how much is left.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::statvfs;
use tokio::sync::Notify;

use super::StoreError;

/// What the store may take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// How many bytes blobs and manifests may take; of what was pulled, what was used least lately
    /// goes first. No limit by default.
    pub(crate) max_size: Option<u64>,
    /// How many bytes of the file system stay free.
    pub(crate) min_free: u64,
}

/// How long after the last write that failed the disk counts as full, if the file system does not say so:
/// of a quota it tells nothing.
const FULL: Duration = Duration::from_secs(60);

pub(crate) struct Disk {
    root: PathBuf,
    limits: Limits,
    min_free: AtomicU64,
    /// What blobs and manifests take, as `du` counts it. Put right by each walk over them.
    used: AtomicI64,
    /// When a write last failed for want of space, if none was done since.
    full: Mutex<Option<Instant>>,
    pressure: Notify,
    /// When room was last looked for on a full disk, and whether there was any.
    last_room: Mutex<Option<(Instant, bool)>>,
}

impl Disk {
    pub(super) fn new(root: &Path, limits: Limits) -> Self {
        Self {
            root: root.to_owned(),
            limits,
            min_free: AtomicU64::new(limits.min_free),
            used: AtomicI64::new(0),
            full: Mutex::new(None),
            pressure: Notify::new(),
            last_room: Mutex::new(None),
        }
    }

    /// Why the store cannot keep anything now, if it cannot.
    pub(crate) fn problem(&self) -> Option<String> {
        let mut full = self.full.lock();
        let failed = (*full)?;
        if failed.elapsed() > FULL && self.room_for(1).is_ok() {
            *full = None;
            return None;
        }
        Some(format!("no space is left under {}", self.root.display()))
    }

    /// Fills the disk, as far as the store can tell, or frees it.
    #[cfg(test)]
    pub(crate) fn set_min_free(&self, bytes: u64) {
        self.min_free.store(bytes, Ordering::Relaxed);
    }

    /// # Errors
    /// A write of this length would leave less free than must be.
    pub(super) fn room_for(&self, bytes: usize) -> Result<(), StoreError> {
        let min_free = self.min_free.load(Ordering::Relaxed);
        if min_free == 0 {
            return Ok(());
        }
        // What cannot be asked is no reason to refuse: the write itself will say.
        let Ok(file_system) = statvfs(&self.root) else {
            return Ok(());
        };
        let free = file_system.f_bavail.saturating_mul(file_system.f_frsize);
        if free < min_free.saturating_add(bytes as u64) {
            return Err(StoreError::Full(self.root.clone()));
        }
        Ok(())
    }

    /// A write failed for want of space.
    pub(super) fn is_full(&self, path: &Path) {
        if self.full.lock().replace(Instant::now()).is_none() {
            tracing::error!(
                path = %path.display(),
                "no space is left: nothing is kept until there is; free some or lower --max-size"
            );
        }
        self.press();
    }

    /// Something was written.
    pub(super) fn took(&self, bytes: u64) {
        if self.full.lock().take().is_some() {
            tracing::info!("there is space again: what comes is kept");
        }
        self.used.fetch_add(signed(bytes), Ordering::Relaxed);
        if self.surplus() > 0 {
            self.press();
        }
    }

    /// Held while room is made, so that one does it for all.
    pub(super) fn last_room(&self) -> MutexGuard<'_, Option<(Instant, bool)>> {
        self.last_room.lock()
    }

    pub(super) fn freed(&self, bytes: u64) {
        self.used.fetch_sub(signed(bytes), Ordering::Relaxed);
    }

    pub(super) fn set_used(&self, bytes: u64) {
        self.used.store(signed(bytes), Ordering::Relaxed);
    }

    /// What blobs and manifests take.
    pub(crate) fn used(&self) -> u64 {
        u64::try_from(self.used.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// How many bytes are too many.
    pub(crate) fn surplus(&self) -> u64 {
        let limit = self.limits.max_size.unwrap_or(u64::MAX);
        self.used().saturating_sub(limit)
    }

    /// Whether so much is too much that what comes has to wait.
    pub(super) fn is_over(&self) -> bool {
        self.surplus() > self.limits.max_size.unwrap_or(u64::MAX) / 10
    }

    /// How many bytes to free at once: what is too much, and a tenth of the limit so that the next
    /// blob does not begin it again.
    pub(super) fn to_free(&self) -> u64 {
        match self.surplus() {
            0 => 0,
            surplus => surplus + self.limits.max_size.unwrap_or(0) / 10,
        }
    }

    /// Space is short, still.
    pub(crate) fn press(&self) {
        self.pressure.notify_one();
    }

    /// Waits until space is short.
    pub(crate) async fn pressed(&self) {
        self.pressure.notified().await;
    }
}

/// What a file takes, as `du` counts it.
pub(super) fn size(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
