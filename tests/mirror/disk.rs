//! The directory of a store, and what happens to it behind the store's back.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::folder;
use crate::store::Digest;

/// A directory for a store.
pub(crate) struct Data(TempDir);

impl Data {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where the content of a blob is.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let path = self.path().join("blobs").join(digest.algorithm().as_str());
        path.join(&digest.hex()[..2]).join(digest.hex())
    }

    /// Its other name, by which a repository has it.
    pub(crate) fn link(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.part(repository, "_blobs", digest)
    }

    pub(crate) fn manifest(&self, repository: &str, digest: &Digest) -> PathBuf {
        self.part(repository, "_manifests", digest)
    }

    fn part(&self, repository: &str, part: &str, digest: &Digest) -> PathBuf {
        let path = self.path().join("repositories").join(repository).join(part);
        path.join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// All files under one of the store's directories.
    pub(crate) fn files(&self, part: &str) -> Vec<PathBuf> {
        folder::files(&self.path().join(part))
    }
}

/// What a failing disk or another program does to a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Damage {
    Flip,
    Cut,
    Lengthen,
    /// The first page.
    Zero,
}

/// Damages a file, which keeps its mode.
pub(crate) fn damage(path: &Path, kind: Damage) {
    let before = fs::metadata(path).unwrap();
    let (mode, length) = (before.permissions(), before.len());
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.unwrap();
    match kind {
        Damage::Flip => {
            let mut byte = [0];
            file.read_exact_at(&mut byte, length / 2).unwrap();
            file.write_all_at(&[byte[0] ^ 1], length / 2).unwrap();
        }
        Damage::Cut => file.set_len(length / 2).unwrap(),
        Damage::Lengthen => file.write_all_at(b"more", length).unwrap(),
        Damage::Zero => {
            let page = usize::try_from(length).unwrap().min(4096);
            file.write_all_at(&vec![0; page], 0).unwrap();
        }
    }
    fs::set_permissions(path, mode.clone()).unwrap();
    // The file system's clock is coarse: what happens within one tick of it looks like one change.
    let changed = |file: &fs::Metadata| (file.ctime(), file.ctime_nsec());
    while changed(&fs::metadata(path).unwrap()) == changed(&before) {
        fs::set_permissions(path, mode.clone()).unwrap();
    }
}
