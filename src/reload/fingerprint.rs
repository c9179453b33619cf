use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Files up to this size are told apart by their content: their times and lengths can be the same
/// after a change (a rewrite within one tick of the file system's clock).
const DIGESTED: u64 = 1024 * 1024;

/// What tells one state of the files from another. Compared for equality only, so no clock that
/// jumps can hide a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(PathBuf, Option<Stamp>)>);

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    target: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    /// The inode, and when it was changed last, its permissions included.
    inode: (u64, i64, i64),
    /// `None` where it cannot be read or is large.
    digest: Option<[u8; 32]>,
    readable: bool,
}

impl Fingerprint {
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let mut stamps = Vec::new();
        for path in paths {
            stamps.push((path.clone(), stamp(path)));
            let Ok(entries) = fs::read_dir(path) else {
                continue;
            };
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.sort();
            stamps.extend(files.into_iter().map(|file| {
                let stamp = stamp(&file);
                (file, stamp)
            }));
        }
        Self(stamps)
    }
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
        target,
    };
    if metadata.is_file() {
        match File::open(&stamp.target) {
            Ok(file) if stamp.length <= DIGESTED => stamp.digest = digest(file),
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
