use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::util::descriptors::with_spare;
use crate::util::file;
use crate::util::patience::within;

/// Files up to this size are distinguished by their content: their times and lengths can be the same
/// after a change (a rewrite within one tick of the file system's clock).
const DIGESTED: u64 = 1024 * 1024;

/// What distinguishes one state of the files from another. Compared for equality only, so no clock that
/// jumps can hide a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(PathBuf, Option<Stamp>)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    target: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    /// The inode, and when it was changed last, its permissions included.
    inode: (u64, i64, i64),
    /// `None` where it cannot be read or is large.
    digest: Option<[u8; 32]>,
    readable: bool,
    is_directory: bool,
}

impl Fingerprint {
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let mut stamps = Vec::new();
        for path in paths {
            let (own, files) = stamped(path, |path| {
                let own = stamp(path);
                let files = own.as_ref().map_or_else(Vec::new, |own| entries(path, own));
                (own, files)
            });
            stamps.push((path.clone(), own));
            // Each by itself: one that is stuck hides no change of those beside it.
            stamps.extend(files.into_iter().map(|file| {
                let own = stamped(&file, stamp);
                (file, own)
            }));
        }
        Self(stamps)
    }
}

/// What `look` finds at a path. What is stuck is as what is not there.
fn stamped<T: Default + Send + 'static>(path: &Path, look: fn(&Path) -> T) -> T {
    let owned = path.to_owned();
    within(path, move |_| look(&owned)).unwrap_or_default()
}

/// The entries of a directory, in order.
fn entries(path: &Path, own: &Stamp) -> Vec<PathBuf> {
    let entries = if own.is_directory {
        with_spare(|| fs::read_dir(path)).ok()
    } else {
        None
    };
    let entries = entries.into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn stamp(path: &Path) -> Option<Stamp> {
    // Through symlinks: a Secret's `tls.crt` points to `..data/tls.crt`, `..data` to a directory.
    let target = fs::canonicalize(path).ok()?;
    let metadata = fs::metadata(&target).ok()?;
    let mut stamp = Stamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        inode: inode(&metadata),
        digest: None,
        readable: true,
        is_directory: metadata.is_dir(),
        target,
    };
    if metadata.is_file() {
        match file::open(&stamp.target) {
            Ok((file, _)) if stamp.length <= DIGESTED => stamp.digest = digest(file),
            Ok(_) => {}
            Err(_) => stamp.readable = false,
        }
    }
    Some(stamp)
}

fn digest(file: File) -> Option<[u8; 32]> {
    // A key's bytes must not stay in memory.
    let mut content = Zeroizing::new(Vec::with_capacity(16 * 1024));
    file.take(DIGESTED).read_to_end(&mut content).ok()?;
    Some(Sha256::digest(&*content).into())
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> (u64, i64, i64) {
    (0, 0, 0)
}
