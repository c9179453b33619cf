//! Reads everything again now and then: what a disk or another program damaged is found before a client
//! needs it, and mended from another copy or taken away, for the upstream or a push to bring it again.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::adopt::examine;
use super::blobs::inode;
use super::digest::Hasher;
use super::open::{Found, open, read};
use super::{Digest, Store, StoreError, durable};

/// How much is read at once.
const PIECE: u64 = 4 * 1024 * 1024;

/// What a scrub found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scrubbed {
    pub(crate) blobs: usize,
    pub(crate) manifests: usize,
    pub(crate) damaged: usize,
}

/// What is to be read.
enum Target {
    Blob(Digest),
    Manifest(String, Digest),
}

impl Store {
    /// Reads everything, `pace` bytes a second, and heals what is damaged.
    pub(crate) async fn scrub(&self, pace: u64) -> Result<Scrubbed, StoreError> {
        let mut found = Scrubbed::default();
        for target in self.run(Self::targets).await? {
            let read = match target {
                Target::Blob(digest) => {
                    found.blobs += 1;
                    self.scrub_blob(digest, pace, &mut found).await?
                }
                Target::Manifest(repository, digest) => {
                    found.manifests += 1;
                    let scrub = move |store: &Self| store.scrub_manifest(&repository, &digest);
                    let (read, damaged) = self.run(scrub).await?;
                    found.damaged += usize::from(damaged);
                    read
                }
            };
            pause(read, pace).await;
        }
        found.damaged += self.run(Self::scrub_links).await?;
        found.damaged += self.run(Self::scrub_tags).await?;
        Ok(found)
    }

    fn targets(&self) -> Result<Vec<Target>, StoreError> {
        let mut targets = Vec::new();
        self.for_each_blob(|digest, _, _| {
            targets.push(Target::Blob(digest));
            Ok(())
        })?;
        for repository in self.all_repositories()? {
            self.for_each_manifest(&repository, |digest, _, _| {
                targets.push(Target::Manifest(repository.clone(), digest));
                Ok(())
            })?;
        }
        Ok(targets)
    }

    /// Returns how much of its last piece was read.
    async fn scrub_blob(
        &self,
        digest: Digest,
        pace: u64,
        found: &mut Scrubbed,
    ) -> Result<u64, StoreError> {
        let path = self.blob(&digest);
        let mut hasher = Hasher::new(digest.algorithm());
        let mut at = 0;
        loop {
            let path = path.clone();
            let read = move |_: &Self| {
                let read = match open(&path)? {
                    None => return Ok(None),
                    Some(Found::Other(_)) => 0,
                    // A disk that cannot give it is as bad as one that gives something else.
                    Some(Found::File(file, _)) => hasher.read_part(&file, at, PIECE).unwrap_or(0),
                };
                Ok(Some((hasher, read)))
            };
            let Some((next, read)) = self.run(read).await? else {
                return Ok(0);
            };
            hasher = next;
            at += read;
            if read < PIECE {
                break;
            }
            pause(read, pace).await;
        }
        if hasher.finish() != digest {
            let heal = move |store: &Self| store.heal_blob(&digest);
            found.damaged += usize::from(self.run(heal).await?);
        }
        Ok(at % PIECE)
    }

    /// Puts a good copy in the place of a damaged blob, where a repository has one, and else takes it
    /// away. False if it is not damaged: another one took its place while it was read.
    fn heal_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        let target = self.blob(digest);
        let mut damaged = match examine(&target, digest)? {
            Some(known) if known.sound => return Ok(false),
            known => Vec::from_iter(known.map(|known| known.inode)),
        };
        let repositories = self.all_repositories()?;
        for repository in &repositories {
            let link = self.blob_link(repository, digest);
            if inode(&link)?.is_none_or(|inode| damaged.contains(&inode)) {
                continue;
            }
            // What a crash in the middle of a mend leaves.
            match examine(&link, digest)? {
                Some(known) if known.sound => {
                    self.checked().count_damaged();
                    tracing::warn!(%digest, "a damaged blob is replaced by a good copy of it");
                    let _changes = self.changes();
                    durable::relink(&self.tmp(), &link, &target)?;
                    return Ok(true);
                }
                known => damaged.extend(known.map(|known| known.inode)),
            }
        }
        if damaged.is_empty() {
            return Ok(false);
        }
        self.checked().count_damaged();
        tracing::error!(
            %digest,
            "a blob on the disk is not what its digest says and is removed; push it again"
        );
        for repository in repositories {
            for inode in &damaged {
                self.take_away(&repository, digest, *inode)?;
            }
        }
        let _changes = self.changes();
        if let Some(Found::Other(_)) = open(&target)? {
            durable::remove(&target)?;
        }
        Ok(true)
    }

    /// Gives the repositories that have another file than the content of its digest that content.
    fn scrub_links(&self) -> Result<usize, StoreError> {
        let mut healed = 0;
        for repository in self.all_repositories()? {
            self.for_each_link(&repository, |digest, _, metadata| {
                let target = self.blob(&digest);
                if inode(&target)? == Some(metadata.ino()) {
                    return Ok(());
                }
                healed += 1;
                let good = is_good(&target, &digest)?;
                self.heal_link(&repository, &digest, metadata.ino(), good)
            })?;
        }
        Ok(healed)
    }

    /// Gives `repository` the content of the digest in the place of this file, if that is `good`, and else takes the
    /// file away.
    fn heal_link(
        &self,
        repository: &str,
        digest: &Digest,
        damaged: u64,
        good: bool,
    ) -> Result<(), StoreError> {
        if !good {
            return self.discard(repository, digest, damaged);
        }
        let (link, target) = (self.blob_link(repository, digest), self.blob(digest));
        let _changes = self.changes();
        if inode(&link)? == Some(damaged) && inode(&target)?.is_some() {
            self.checked().count_damaged();
            tracing::warn!(repository, %digest, "a repository's damaged blob is replaced by the good one");
            durable::relink(&self.tmp(), &target, &link)?;
        }
        Ok(())
    }

    /// Takes a damaged file out of all places that it has under its digest, and puts a good copy there if there is
    /// one.
    pub(super) fn set_aside(&self, digest: &Digest, damaged: u64) -> Result<(), StoreError> {
        self.heal_blob(digest)?;
        let good = is_good(&self.blob(digest), digest)?;
        for repository in self.all_repositories()? {
            if inode(&self.blob_link(&repository, digest))? == Some(damaged) {
                self.heal_link(&repository, digest, damaged, good)?;
            }
        }
        Ok(())
    }

    /// Returns how much was read and whether it was damaged.
    fn scrub_manifest(&self, repository: &str, digest: &Digest) -> Result<(u64, bool), StoreError> {
        let path = self.manifest_file(repository, digest);
        match super::collect::parsed(digest, &path) {
            Ok(None) => Ok((0, false)),
            Ok(Some(manifest)) => {
                let _changes = self.changes();
                // Its entry among the referrers is a copy of what it says.
                if self.has_manifest(repository, digest)? {
                    self.put_referrer(repository, &manifest)?;
                }
                Ok((manifest.content.len() as u64, false))
            }
            Err(StoreError::Corrupt(_)) => {
                let damaged = self.discard_manifest(repository, digest)?;
                Ok((0, damaged))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a manifest that is not what its digest says, and its tags; false if what is there is.
    pub(super) fn discard_manifest(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let _changes = self.changes();
        match read(&self.manifest_file(repository, digest)) {
            Ok(Some(content)) if Digest::of(digest.algorithm(), &content) != *digest => {}
            Err(StoreError::Corrupt(_)) => {}
            Ok(Some(_)) => {
                tracing::error!(
                    repository,
                    %digest,
                    "a manifest on the disk is none that this version serves; push another"
                );
                return Ok(false);
            }
            Ok(None) => return Ok(false),
            Err(error) => return Err(error),
        }
        self.checked().count_damaged();
        tracing::error!(
            repository,
            %digest,
            "a manifest on the disk is not what its digest says and is removed; push it again"
        );
        match self.remove_manifest(repository, digest) {
            Ok(_) | Err(StoreError::ManifestUnknown) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Removes a tag that cannot be read.
    pub(crate) fn discard_tag(&self, repository: &str, name: &str) -> Result<(), StoreError> {
        let _changes = self.changes();
        // It may have been set again.
        let Err(StoreError::Corrupt(path)) = self.tag(repository, name) else {
            return Ok(());
        };
        self.checked().count_damaged();
        tracing::error!(
            repository,
            tag = name,
            "a tag that cannot be read is removed; push it again"
        );
        durable::remove(&path).map(drop)
    }

    /// Removes tags that cannot be read; returns how many.
    fn scrub_tags(&self) -> Result<usize, StoreError> {
        let mut removed = 0;
        for repository in self.all_repositories()? {
            let directory = self.tags_dir(&repository);
            Self::for_each_name(&directory, |name| match self.tag(&repository, &name) {
                Err(StoreError::Corrupt(_)) => {
                    removed += 1;
                    self.discard_tag(&repository, &name)
                }
                result => result.map(drop),
            })?;
        }
        Ok(removed)
    }
}

async fn pause(read: u64, pace: u64) {
    let micros = read.saturating_mul(1_000_000) / pace.max(1);
    tokio::time::sleep(Duration::from_micros(micros)).await;
}

fn is_good(path: &Path, digest: &Digest) -> Result<bool, StoreError> {
    Ok(examine(path, digest)?.is_some_and(|known| known.sound))
}
