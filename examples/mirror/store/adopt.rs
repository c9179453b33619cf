//! How verified content gets its place among the blobs.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::blobs::inode;
use super::error::At as _;
use super::open::{Found, open};
use super::{Digest, Store, StoreError, disk, durable};

/// The mode of a blob that was verified and that a client pushed.
pub(super) const PUSHED: u32 = 0o400;
/// The mode of one that was verified and that came from the upstream, which has it still.
pub(super) const PULLED: u32 = 0o444;

/// What is under the name of a digest.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) inode: u64,
    mode: u32,
    /// Whether it has that digest.
    pub(super) sound: bool,
}

impl Store {
    /// Moves a synced file whose digest was verified among the blobs, as one of `repository`. What is
    /// there under that digest is read again: the new file takes its place if it is something else.
    /// `pushed`: a client gave it, and the upstream need not have it.
    pub(super) fn adopt(
        &self,
        file: &Path,
        repository: &str,
        digest: &Digest,
        pushed: bool,
    ) -> Result<(), StoreError> {
        let target = self.blob(digest);
        let directory = target.parent().unwrap_or(&target);
        loop {
            // Without the lock, because it takes as long as the blob is.
            let known = examine(&target, digest)?;
            let _changes = self.changes();
            if inode(&target)? != known.map(|known| known.inode) {
                continue;
            }
            durable::create_dirs(directory)?;
            let was_pushed = known.is_some_and(|known| known.mode != PULLED);
            let mode = if pushed || was_pushed { PUSHED } else { PULLED };
            match known {
                // The same content, and others may have it open.
                Some(Known { sound: true, .. }) => {
                    seal(&target, mode)?;
                    let file_there = File::open(&target).at(&target)?;
                    let metadata = file_there.metadata().at(&target)?;
                    self.touch(&file_there, &metadata, &target)?;
                    fs::remove_file(file).at(file)?;
                }
                Some(_) => {
                    seal(file, mode)?;
                    self.mend(file, &target, digest)?;
                }
                None => {
                    seal(file, mode)?;
                    fs::rename(file, &target).at(&target)?;
                    durable::sync_dir(directory)?;
                    let metadata = fs::metadata(&target).at(&target)?;
                    self.disk().took(disk::size(&metadata));
                }
            }
            self.link(&target, repository, digest)?;
            return self.note_checked(digest, &target);
        }
    }

    /// Puts a verified file in the place of one that is not what its digest says, in each repository
    /// that has it. Itself last: until then a crash leaves what the next push mends.
    fn mend(&self, file: &Path, target: &Path, digest: &Digest) -> Result<(), StoreError> {
        self.checked().count_damaged();
        tracing::warn!(
            %digest,
            "a blob on the disk was not what its digest says; what was pushed now takes its place"
        );
        for repository in self.all_repositories()? {
            let link = self.blob_link(&repository, digest);
            if inode(&link)?.is_some() {
                durable::relink(&self.tmp(), file, &link)?;
            }
        }
        durable::rename_over(file, target).at(target)?;
        durable::sync_dir(target.parent().unwrap_or(target))
    }
}

/// Reads what is at `path`. A disk that cannot give it is as bad as one that gives something else.
pub(super) fn examine(path: &Path, digest: &Digest) -> Result<Option<Known>, StoreError> {
    let found = open(path)?.map(|found| match found {
        Found::File(file, metadata) => Known {
            inode: metadata.ino(),
            mode: metadata.mode() & 0o777,
            sound: Digest::of_file(digest.algorithm(), &file).is_ok_and(|actual| actual == *digest),
        },
        Found::Other(inode) => Known {
            inode,
            mode: PUSHED,
            sound: false,
        },
    });
    Ok(found)
}

fn seal(blob: &Path, mode: u32) -> Result<(), StoreError> {
    fs::set_permissions(blob, Permissions::from_mode(mode)).at(blob)
}
