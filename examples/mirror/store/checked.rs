//! Which files were seen to be what their digests say since this process began: only they are given without
//! being read first. What the store itself changes about a file (its names, its times, its mode) is followed.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::mem;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::digest::Hasher;
use super::error::At as _;
use super::{Digest, Store, StoreError};

/// How many files are remembered at least, and half of how many at most.
const GENERATION: usize = 32 * 1024;

/// A file, under whatever names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    pub(super) inode: u64,
}

/// Differs once a program has written to the file. A disk that fails changes nothing of it: what it damages after
/// the file was read is found by the scrub.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    changed: (i64, i64),
    length: u64,
}

struct Seen {
    stamp: Stamp,
    digest: Digest,
    hashed: Hashed,
}

/// How much of a file has been read.
pub(super) enum Hashed {
    /// All of it, and it has the digest.
    Whole,
    Part(Box<Hasher>, u64),
}

/// Stamps are compared and set by those who hold the lock of uses, under which the store changes files.
#[derive(Default)]
pub(crate) struct Checked {
    files: Mutex<Generations>,
    read: AtomicU64,
    damaged: AtomicU64,
}

/// What was not asked for while as many others were is forgotten.
#[derive(Default)]
struct Generations {
    recent: HashMap<Identity, Seen>,
    older: HashMap<Identity, Seen>,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
        }
    }
}

impl Seen {
    fn new(digest: &Digest, metadata: &Metadata, hashed: Hashed) -> Self {
        Self {
            stamp: Stamp::of(metadata),
            digest: digest.clone(),
            hashed,
        }
    }

    fn is(&self, digest: &Digest, metadata: &Metadata) -> bool {
        self.stamp == Stamp::of(metadata) && self.digest == *digest
    }
}

impl Checked {
    /// Whether the file was read to its end and has this digest.
    pub(super) fn knows(&self, digest: &Digest, metadata: &Metadata) -> bool {
        let mut files = self.files.lock();
        let seen = files.get(Identity::of(metadata));
        seen.is_some_and(|seen| seen.is(digest, metadata) && matches!(seen.hashed, Hashed::Whole))
    }

    /// What there is to go on from; `None` if all was read.
    pub(super) fn begin(&self, digest: &Digest, metadata: &Metadata) -> Option<(Box<Hasher>, u64)> {
        let mut files = self.files.lock();
        let identity = Identity::of(metadata);
        let seen = files.get(identity).filter(|seen| seen.is(digest, metadata));
        match seen.map(|seen| &seen.hashed) {
            Some(Hashed::Whole) => return None,
            Some(Hashed::Part(hasher, at)) => return Some((hasher.clone(), *at)),
            None => {}
        }
        let hasher = Box::new(Hasher::new(digest.algorithm()));
        files.insert(
            identity,
            Seen::new(digest, metadata, Hashed::Part(hasher.clone(), 0)),
        );
        Some((hasher, 0))
    }

    /// Notes how far the file was read, unless it was changed since that began.
    pub(super) fn came(&self, digest: &Digest, metadata: &Metadata, hashed: Hashed) {
        let mut files = self.files.lock();
        let seen = files.get(Identity::of(metadata));
        if let Some(seen) = seen.filter(|seen| seen.is(digest, metadata)) {
            seen.hashed = hashed;
        }
    }

    /// Forgets how far the file was read.
    pub(super) fn forget(&self, identity: Identity) {
        self.files.lock().remove(identity);
    }

    fn passed(&self, digest: &Digest, metadata: &Metadata) {
        let seen = Seen::new(digest, metadata, Hashed::Whole);
        self.files.lock().insert(Identity::of(metadata), seen);
    }

    fn follow(&self, before: &Metadata, after: &Metadata) {
        let mut files = self.files.lock();
        if let Some(seen) = files.get(Identity::of(before))
            && seen.stamp == Stamp::of(before)
        {
            seen.stamp = Stamp::of(after);
        }
    }

    pub(super) fn count_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes were read because a blob was asked for that had not been read before.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(super) fn count_damaged(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was found on the disk that was not what it should be.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }
}

impl Generations {
    fn get(&mut self, file: Identity) -> Option<&mut Seen> {
        if !self.recent.contains_key(&file) {
            let seen = self.older.remove(&file)?;
            self.insert(file, seen);
        }
        self.recent.get_mut(&file)
    }

    fn remove(&mut self, file: Identity) {
        self.recent.remove(&file);
        self.older.remove(&file);
    }

    fn insert(&mut self, file: Identity, seen: Seen) {
        self.older.remove(&file);
        if self.recent.len() >= GENERATION {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(file, seen);
    }
}

impl Store {
    /// Whether the file was seen to have this digest.
    pub(super) fn is_checked(
        &self,
        digest: &Digest,
        file: &File,
        path: &Path,
    ) -> Result<bool, StoreError> {
        let _uses = self.uses();
        let metadata = file.metadata().at(path)?;
        Ok(self.checked().knows(digest, &metadata))
    }

    /// Notes that what is at `path` was seen to have this digest, before it got there or just now.
    pub(super) fn note_checked(&self, digest: &Digest, path: &Path) -> Result<(), StoreError> {
        let _uses = self.uses();
        let metadata = fs::metadata(path).at(path)?;
        self.checked().passed(digest, &metadata);
        Ok(())
    }

    /// Changes something about the file at `path` that is not its content, for those who hold the lock of uses.
    pub(super) fn follow<T>(
        &self,
        path: &Path,
        change: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let before = fs::metadata(path);
        let done = change()?;
        if let (Ok(before), Ok(after)) = (before, fs::metadata(path)) {
            self.checked().follow(&before, &after);
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_remembered_and_the_rest_is_bounded() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let digest = Digest::of(super::super::Algorithm::Sha256, b"");
        let mut files = Generations::default();
        let of = |inode| Identity { device: 0, inode };
        for inode in 0..5 * GENERATION as u64 {
            let seen = Seen::new(&digest, &metadata, Hashed::Whole);
            files.insert(of(inode), seen);
            assert!(files.get(of(0)).is_some(), "{inode}");
        }
        assert!(files.recent.len() + files.older.len() <= 2 * GENERATION);
        assert!(files.get(of(1)).is_none());
        assert!(files.get(of(5 * GENERATION as u64 - 1)).is_some());
    }
}
