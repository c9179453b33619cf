//! Makes room: of what the upstream has still, what was used least lately goes first.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use super::blobs::is_pulled;
use super::collect::{Freed, parsed};
use super::error::At as _;
use super::{Digest, Store, StoreError, disk};

/// How much is freed when the disk is full, at once.
const STEP: u64 = 64 * 1024 * 1024;

/// How soon after finding nothing to free it is looked for again.
const PAUSE: Duration = Duration::from_secs(10);

/// Something that can be had again.
struct Candidate {
    used: SystemTime,
    size: u64,
    digest: Digest,
    /// A manifest of this repository; else a blob.
    manifest_of: Option<String>,
}

impl Store {
    /// Frees at least this many bytes, if what can be had again takes so much.
    ///
    /// What was pushed is never taken, nor a blob to which a manifest refers that was pushed, nor what
    /// is in use meanwhile: whether there was some of that is returned too.
    fn evict(&self, bytes: u64) -> Result<(Freed, bool), StoreError> {
        let repositories = self.all_repositories()?;
        let mut candidates = Vec::new();
        let mut own = HashSet::new();
        for repository in &repositories {
            self.for_each_manifest(repository, |digest, path, metadata| {
                if Self::is_pulled_manifest(path)? {
                    candidates.push(Candidate {
                        used: metadata.modified().at(path)?,
                        size: disk::size(metadata),
                        digest,
                        manifest_of: Some(repository.clone()),
                    });
                } else if let Ok(Some(manifest)) = parsed(&digest, path) {
                    own.extend(manifest.blobs());
                }
                Ok(())
            })?;
        }
        self.for_each_blob(|digest, path, metadata| {
            if is_pulled(metadata) && !own.contains(&digest) {
                candidates.push(Candidate {
                    used: metadata.modified().at(path)?,
                    size: disk::size(metadata),
                    digest,
                    manifest_of: None,
                });
            }
            Ok(())
        })?;
        candidates.sort_unstable_by_key(|candidate| candidate.used);
        let (mut freed, mut busy) = (Freed::default(), false);
        let (mut blobs, mut manifests) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        let mut planned = 0;
        for candidate in candidates {
            if planned >= bytes {
                break;
            }
            if self.pins().holds(&candidate.digest) {
                busy = true;
                continue;
            }
            planned += candidate.size;
            let Candidate { digest, used, .. } = candidate;
            match candidate.manifest_of {
                Some(repository) => manifests
                    .entry(repository)
                    .or_default()
                    .push((digest, used)),
                None => drop(blobs.insert(digest, used)),
            }
        }
        for (repository, manifests) in manifests {
            busy |= self.evict_manifests(&repository, &manifests, &mut freed)?;
        }
        for repository in &repositories {
            self.for_each_link(repository, |digest, _, _| {
                let Some(used) = blobs.get(&digest) else {
                    return Ok(());
                };
                match self.unlink_unused(repository, &digest, *used)? {
                    Some(bytes) => {
                        freed.blobs += 1;
                        freed.bytes += bytes;
                    }
                    None => busy = true,
                }
                Ok(())
            })?;
        }
        Ok((freed, busy))
    }

    fn evict_manifests(
        &self,
        repository: &str,
        manifests: &[(Digest, SystemTime)],
        freed: &mut Freed,
    ) -> Result<bool, StoreError> {
        let mut busy = false;
        // Once for all of them, if all can be read. To set a tag is to use its manifest.
        let tagged = match self.tagged(repository) {
            Err(StoreError::Corrupt(_)) => None,
            tagged => Some(tagged?),
        };
        for (digest, used) in manifests {
            let path = self.manifest_file(repository, digest);
            let _changes = self.changes();
            // It may have been used or pushed since.
            if Self::was_used(&path, *used)? {
                busy = true;
            } else if Self::is_pulled_manifest(&path)? {
                freed.bytes += match &tagged {
                    Some(tagged) => {
                        let names = tagged.get(digest).map_or(&[][..], Vec::as_slice);
                        self.remove_manifest_and(repository, digest, names)?
                    }
                    None => self.remove_manifest(repository, digest)?,
                };
                freed.manifests += 1;
            }
        }
        Ok(busy)
    }

    /// Brings the store within its limit, as far as it can. Returns whether more may go later, because some is
    /// in use.
    pub(crate) fn keep_within(&self) -> Result<bool, StoreError> {
        // What waits for it finds it done.
        let mut last = self.disk().last_room();
        let bytes = self.disk().to_free();
        if bytes == 0 {
            return Ok(false);
        }
        let (freed, busy) = self.evict(bytes)?;
        *last = Some((Instant::now(), freed.bytes > 0 || busy));
        tracing::info!(
            manifests = freed.manifests,
            blobs = freed.blobs,
            bytes = freed.bytes,
            "the store was too large: what was pulled and used least lately is removed"
        );
        let surplus = self.disk().surplus();
        if surplus > 0 && !busy {
            tracing::warn!(
                bytes = surplus,
                "the store is larger than --max-size: the rest was pushed"
            );
        }
        Ok(surplus > 0 && busy)
    }

    /// Has what comes from the upstream make room itself where much is too much, so that it cannot come sooner than
    /// room is made. Where that cannot be done it is kept all the same.
    pub(super) fn wait_for_room(&self) {
        if !self.disk().is_over() {
            return;
        }
        if matches!(*self.disk().last_room(), Some((at, false)) if at.elapsed() < PAUSE) {
            return;
        }
        if let Err(error) = self.keep_within() {
            tracing::warn!(%error, "the store could not be brought within --max-size");
        }
    }

    /// Frees some space on a full disk; false if there is nothing that can be had again.
    pub(crate) fn make_room(&self) -> Result<bool, StoreError> {
        let came = Instant::now();
        let mut last = self.disk().last_room();
        match *last {
            Some((at, made)) if at >= came => return Ok(made),
            Some((at, false)) if at.elapsed() < PAUSE => return Ok(false),
            _ => {}
        }
        let (freed, _) = self.evict(STEP)?;
        let made = freed.bytes > 0;
        if made {
            tracing::warn!(
                bytes = freed.bytes,
                "the disk is full: what was pulled and used least lately is removed"
            );
        }
        *last = Some((Instant::now(), made));
        Ok(made)
    }

    /// What comes from the upstream is given all the same where there is no room to keep it.
    pub(super) fn unless_full(&self, written: Result<(), StoreError>) -> Result<(), StoreError> {
        match written {
            Err(StoreError::Full(path)) => {
                self.disk().is_full(&path);
                Ok(())
            }
            written => written,
        }
    }

    /// Does `work`, and again after making room if there is none for it.
    pub(super) fn with_room<T>(
        &self,
        work: impl Fn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match work() {
            Err(StoreError::Full(_)) if self.make_room()? => work(),
            result => result,
        }
    }
}
