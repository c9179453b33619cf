//! Which content is in use: what is being sent is not evicted, and what was used lately goes last.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::error::if_there;
use super::{Digest, Store, StoreError};

/// How exactly it is known when content was last used.
const GRAIN: Duration = Duration::from_secs(1);

/// How many bodies are sent of each blob. `Clone` costs an `Arc`.
#[derive(Clone, Default)]
pub(super) struct Pins(Arc<Mutex<HashMap<Digest, usize>>>);

/// Keeps a blob from being evicted until it is dropped.
pub(super) struct Pin {
    pins: Pins,
    digest: Digest,
}

impl Pins {
    pub(super) fn pin(&self, digest: &Digest) -> Pin {
        *self.0.lock().entry(digest.clone()).or_default() += 1;
        Pin {
            pins: self.clone(),
            digest: digest.clone(),
        }
    }

    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.0.lock().contains_key(digest)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock();
        if let Some(count) = pins.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.digest);
            }
        }
    }
}

impl Store {
    /// Notes that the content at `path`, open as `file`, is used: its time of change is when it was last
    /// used, for all names of it. False if it was removed meanwhile.
    pub(super) fn touch(
        &self,
        file: &File,
        metadata: &Metadata,
        path: &Path,
    ) -> Result<bool, StoreError> {
        let age = metadata.modified().ok().map(|used| used.elapsed());
        if matches!(age, Some(Ok(age)) if age < GRAIN) {
            return Ok(true);
        }
        // What is removed for not being used is looked at and removed under this lock.
        let _uses = self.uses();
        let there = if_there(fs::metadata(path), path)?;
        if there.is_none_or(|there| there.ino() != metadata.ino()) {
            return Ok(false);
        }
        if let Err(error) = self.follow(path, || file.set_modified(SystemTime::now())) {
            tracing::debug!(path = %path.display(), %error, "it cannot be noted that this is used");
        }
        Ok(true)
    }
}
