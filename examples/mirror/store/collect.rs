//! Frees what no manifest refers to, and manifests that nothing names.
//!
//! A push and a collection may run at once: whatever a push relies on (a blob that it was asked for by
//! HEAD or that its manifest names, a manifest that its index names) is noted as used when it is looked
//! at, and nothing that was used since the collection began, less its grace, is removed. That is looked
//! at again under the lock under which it is removed.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::error::{At as _, if_there};
use super::{Digest, Manifest, Store, StoreError, durable, open};

/// What may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collection {
    /// Blobs to which no manifest of their repository refers, once they were not used for so long.
    pub(crate) unreferenced: Duration,
    /// Manifests without a tag, to which none with a tag leads, once they were not used for so long.
    pub(crate) untagged: Option<Duration>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) manifests: usize,
    /// Blobs of a repository; the content stays while another one has it.
    pub(crate) blobs: usize,
    pub(crate) bytes: u64,
}

/// What decides whether a manifest stays.
struct Node {
    leads_to: Vec<Digest>,
    subject: Option<Digest>,
    stays: bool,
}

impl Store {
    /// Frees what may go in all repositories.
    pub(crate) fn collect(&self, collection: Collection) -> Result<Freed, StoreError> {
        let now = SystemTime::now();
        let mut freed = Freed::default();
        for repository in self.all_repositories()? {
            let collected = match collection.untagged.and_then(|age| now.checked_sub(age)) {
                Some(before) => self.collect_manifests(&repository, before, &mut freed),
                None => Ok(()),
            };
            let before = now.checked_sub(collection.unreferenced);
            let collected = collected.and_then(|()| match before {
                Some(before) => self.collect_blobs(&repository, before, &mut freed),
                None => Ok(()),
            });
            match collected {
                // What that refers to is not known, so nothing goes.
                Err(StoreError::Corrupt(path)) => tracing::warn!(
                    repository,
                    path = %path.display(),
                    "nothing is freed in a repository of which this cannot be read; push it again"
                ),
                collected => collected?,
            }
        }
        // Put right what the running count missed.
        self.disk().set_used(self.measure()?);
        Ok(freed)
    }

    /// Removes the manifests of `repository` that nothing names and that were not used since `before`.
    fn collect_manifests(
        &self,
        repository: &str,
        before: SystemTime,
        freed: &mut Freed,
    ) -> Result<(), StoreError> {
        let mut nodes = HashMap::new();
        self.for_each_manifest(repository, |digest, path, metadata| {
            let Some(manifest) = parsed(&digest, path)? else {
                return Ok(());
            };
            let node = Node {
                leads_to: manifest.children().collect(),
                subject: manifest.subject.clone(),
                stays: metadata.modified().at(path)? > before,
            };
            nodes.insert(digest, node);
            Ok(())
        })?;
        for digest in self.tagged(repository)?.keys() {
            if let Some(node) = nodes.get_mut(digest) {
                node.stays = true;
            }
        }
        spread(&mut nodes);
        for (digest, _) in nodes.iter().filter(|(_, node)| !node.stays) {
            let _changes = self.changes();
            if Self::was_used(&self.manifest_file(repository, digest), before)? {
                continue;
            }
            // A tag may have been set meanwhile.
            if !self.tagged(repository)?.contains_key(digest) {
                freed.manifests += 1;
                freed.bytes += self.remove_manifest_and(repository, digest, &[])?;
            }
        }
        Ok(())
    }

    /// Removes the blobs of `repository` to which no manifest there refers and that were not used since
    /// `before`.
    fn collect_blobs(
        &self,
        repository: &str,
        before: SystemTime,
        freed: &mut Freed,
    ) -> Result<(), StoreError> {
        let mut referred = HashSet::new();
        self.for_each_manifest(repository, |digest, path, _| {
            if let Some(manifest) = parsed(&digest, path)? {
                referred.extend(manifest.blobs());
            }
            Ok(())
        })?;
        self.for_each_link(repository, |digest, _, metadata| {
            let used = metadata.modified().is_ok_and(|used| used > before);
            if used || referred.contains(&digest) {
                return Ok(());
            }
            if let Some(bytes) = self.unlink_unused(repository, &digest, before)? {
                freed.blobs += 1;
                freed.bytes += bytes;
            }
            Ok(())
        })
    }

    /// Takes a blob from `repository` unless it was used since `before`; returns how many bytes that
    /// freed, if it did. What a crash brings back goes at the next time.
    pub(super) fn unlink_unused(
        &self,
        repository: &str,
        digest: &Digest,
        before: SystemTime,
    ) -> Result<Option<u64>, StoreError> {
        let _changes = self.changes();
        let link = self.blob_link(repository, digest);
        {
            let _uses = self.uses();
            if self.pins().holds(digest) || Self::was_used(&link, before)? {
                return Ok(None);
            }
            self.follow(&self.blob(digest), || durable::unlink(&link))
                .at(&link)?;
        }
        self.remove_if_unlinked(&self.blob(digest)).map(Some)
    }

    /// Whether the file was used since `before`, or is gone.
    pub(super) fn was_used(path: &Path, before: SystemTime) -> Result<bool, StoreError> {
        let Some(metadata) = if_there(fs::metadata(path), path)? else {
            return Ok(true);
        };
        Ok(metadata.modified().at(path)? > before)
    }

    /// The digests to which the tags of `repository` point, and those tags.
    pub(super) fn tagged(
        &self,
        repository: &str,
    ) -> Result<HashMap<Digest, Vec<String>>, StoreError> {
        let mut tagged = HashMap::<_, Vec<_>>::new();
        Self::for_each_name(&self.tags_dir(repository), |name| {
            if let Some(tag) = self.tag(repository, &name)? {
                tagged.entry(tag.digest).or_default().push(name);
            }
            Ok(())
        })?;
        Ok(tagged)
    }
}

/// The manifest at `path`; `None` if it was removed meanwhile.
///
/// # Errors
/// It is not what its digest says.
pub(super) fn parsed(digest: &Digest, path: &Path) -> Result<Option<Manifest>, StoreError> {
    let Some(content) = open::read(path)? else {
        return Ok(None);
    };
    match Manifest::parse(digest.algorithm(), content) {
        Ok(manifest) if manifest.digest == *digest => Ok(Some(manifest)),
        _ => Err(StoreError::Corrupt(path.to_owned())),
    }
}

/// What a manifest that stays leads to stays, and so do its referrers.
fn spread(nodes: &mut HashMap<Digest, Node>) {
    let mut referrers: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for (digest, node) in &*nodes {
        if let Some(subject) = &node.subject {
            let all = referrers.entry(subject.clone()).or_default();
            all.push(digest.clone());
        }
    }
    let stay = nodes.iter().filter(|(_, node)| node.stays);
    let mut waiting: Vec<Digest> = stay.map(|(digest, _)| digest.clone()).collect();
    while let Some(digest) = waiting.pop() {
        let children = nodes.get(&digest).map(|node| node.leads_to.clone());
        let next = children.into_iter().flatten();
        let next = next.chain(referrers.get(&digest).into_iter().flatten().cloned());
        for digest in next.collect::<Vec<_>>() {
            if let Some(node) = nodes.get_mut(&digest).filter(|node| !node.stays) {
                node.stays = true;
                waiting.push(digest);
            }
        }
    }
}
