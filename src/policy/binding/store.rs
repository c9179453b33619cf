use std::fmt;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::deletions::{DeletionCount, Deletions};
use super::file::{DigestFile, FileOptions, SHORTEST};
use super::format;
use super::keeper::Keeper;
use super::manifest::{children, digest_of, is_content_of, referrers};
use super::table::Table;
use crate::policy::PolicyError;

/// Which repositories lead to which digests, as far as it was seen. `Clone` costs an `Arc`.
///
/// What is learnt is as good as the registries behind: a registry that takes a manifest without having its
/// layers in the same repository lets a caller that pushes there name any layer. So pulls
/// ([`Self::with_pulls`], for a mirror of such registries as check that), pushes ([`Self::with_pushes`], for a
/// registry of its own) and lists of referrers ([`Self::with_referrers`]) are learnt from apart.
#[derive(Clone)]
pub struct DigestBinding(Arc<Inner>);

/// Knows whether a repository leads to a digest of which nothing was seen.
pub trait DigestOracle: Send + Sync {
    /// Whether it does; `None` if that cannot be found out now, and the request is then answered with 503
    /// ([`Refusal::Unavailable`](crate::Refusal::Unavailable)). Asked on the thread that serves the request: answer
    /// from memory, or nearly.
    fn leads_to(&self, registry: Option<&str>, repository: &str, digest: &str) -> Option<bool>;
}

impl<F> DigestOracle for F
where
    F: Fn(Option<&str>, &str, &str) -> Option<bool> + Send + Sync,
{
    fn leads_to(&self, registry: Option<&str>, repository: &str, digest: &str) -> Option<bool> {
        self(registry, repository, digest)
    }
}

impl DigestOracle for Arc<dyn DigestOracle> {
    fn leads_to(&self, registry: Option<&str>, repository: &str, digest: &str) -> Option<bool> {
        (**self).leads_to(registry, repository, digest)
    }
}

#[derive(Clone)]
struct Inner {
    table: Arc<Table>,
    deletions: Arc<Deletions>,
    pulls: bool,
    pushes: bool,
    referrers: bool,
    oracle: Option<Arc<dyn DigestOracle>>,
    file: FileOptions,
    keeper: Option<Arc<Keeper>>,
}

/// Where something is learnt of, and when it was asked for.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) registry: Option<&'a str>,
    pub(super) repository: &'a str,
    pub(super) since: DeletionCount,
}

impl DigestBinding {
    /// Remembers this many pairs of a repository and a digest, in 32 bytes each that are taken at
    /// once. Of what was not seen, or forgotten, nothing is given.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            table: Arc::new(Table::new(capacity)),
            deletions: Arc::default(),
            pulls: true,
            pushes: false,
            referrers: false,
            oracle: None,
            file: FileOptions::default(),
            keeper: None,
        }))
    }

    /// Asks `oracle` about digests of which nothing was seen, instead of refusing them.
    pub fn with_oracle(self, oracle: impl DigestOracle + 'static) -> Self {
        self.with(|inner| inner.oracle = Some(Arc::new(oracle)))
    }

    /// Learns from manifests and indexes that are pulled, and which digest a tag has. Default: yes.
    pub fn with_pulls(self, pulls: bool) -> Self {
        self.with(|inner| inner.pulls = pulls)
    }

    /// Learns from blobs and manifests that are pushed, and from blobs that are mounted from where they are known.
    /// Default: no.
    pub fn with_pushes(self, pushes: bool) -> Self {
        self.with(|inner| inner.pushes = pushes)
    }

    /// Learns from the lists of referrers that are pulled. For services that keep such a list for each
    /// repository: where the list is found by the subject's digest alone, every caller that may push anywhere
    /// puts any content into it. Default: no.
    pub fn with_referrers(self, referrers: bool) -> Self {
        self.with(|inner| inner.referrers = referrers)
    }

    /// Writes what is new to the file of a later [`DigestBinding::kept_in`] this often, but at most once a second.
    /// Default: each minute.
    pub fn with_save_interval(self, interval: Duration) -> Self {
        self.with(|inner| inner.file.interval = interval.max(SHORTEST))
    }

    /// Sets whether a later [`DigestBinding::kept_in`] forgets a file that cannot be read, or is not what was written:
    /// nothing is known then, and the file is replaced once something is. Default: no, it is an error.
    pub fn with_damaged_forgotten(self, forgotten: bool) -> Self {
        self.with(|inner| inner.file.forgets_damaged = forgotten)
    }

    /// Knows what the file at `path` knows, if there is one, and from now on keeps in it what is known: now and
    /// then, on a thread of its own, and when the last clone is dropped. At the end of a program,
    /// [`DigestBinding::save`] makes sure of it. The file's directory must be there and writable.
    ///
    /// A user that can write the file decides what content each caller gets: the file is made for its owner only.
    ///
    /// # Errors
    /// The file cannot be read or written, or is damaged; the first and the last only where
    /// [`DigestBinding::with_damaged_forgotten`] does not say otherwise.
    pub fn kept_in(self, path: impl Into<PathBuf>) -> Result<Self, PolicyError> {
        let file = DigestFile {
            path: path.into(),
            options: self.0.file,
        };
        let keeper = Keeper::start(&file, Arc::clone(&self.0.table))?;
        Ok(self.with(|inner| inner.keeper = Some(Arc::new(keeper))))
    }

    fn with(&self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Inner::clone(&self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Writes what is known to the file of [`DigestBinding::kept_in`], if there is one and something
    /// is new. Blocks until it is on the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<(), PolicyError> {
        self.0.keeper.as_deref().map_or(Ok(()), Keeper::save)
    }

    /// Returns whether the repository is known to lead to the digest.
    pub fn leads_to(&self, registry: Option<&str>, repository: &str, digest: &str) -> bool {
        self.find_out(registry, repository, digest) == Some(true)
    }

    /// Returns whether the repository leads to the digest; `None` if that was not seen, and the oracle cannot find
    /// out now.
    pub(super) fn find_out(
        &self,
        registry: Option<&str>,
        repository: &str,
        digest: &str,
    ) -> Option<bool> {
        let key = Table::key(registry, repository, digest);
        if self.0.table.contains(key) {
            return Some(true);
        }
        let Some(oracle) = self.0.oracle.as_deref() else {
            return Some(false);
        };
        let since = self.now();
        let leads = oracle.leads_to(registry, repository, digest);
        if leads == Some(true) {
            self.learn(since, key);
        }
        leads
    }

    /// The moment for what is asked for now.
    pub(super) fn now(&self) -> DeletionCount {
        self.0.deletions.now()
    }

    /// Remembers that the repository leads to the digest.
    pub fn bind(&self, registry: Option<&str>, repository: &str, digest: &str) {
        let key = Table::key(registry, repository, digest);
        self.0.table.insert(key);
    }

    /// Forgets that the repository leads to the digest: it was deleted there. That holds for every
    /// upstream registry, since whether the delete names one is up to the client.
    pub fn unbind(&self, repository: &str, digest: &str) {
        let key = Table::key(None, repository, digest);
        self.0.deletions.note(Table::name(key));
        self.0.table.remove(key);
    }

    /// Remembers what a manifest or index of the repository leads to, and its own digest, if it is
    /// what `digest` says or nothing says. `media_type` is the `Content-Type` that it came with; one
    /// that came without must name its own. Gives whether it was: nothing is learnt from a manifest
    /// that two readers could take for different ones.
    pub fn bind_manifest(
        &self,
        registry: Option<&str>,
        repository: &str,
        digest: Option<&str>,
        media_type: Option<&str>,
        content: &[u8],
    ) -> bool {
        let place = Place {
            registry,
            repository,
            since: self.now(),
        };
        self.learn_manifest(place, digest, media_type, content)
    }

    /// Remembers that the repository leads to the digest, if it was not deleted meanwhile.
    pub(super) fn learn_digest(&self, place: Place<'_>, digest: &str) {
        let key = Table::key(place.registry, place.repository, digest);
        self.learn(place.since, key);
    }

    /// [`DigestBinding::bind_manifest`] of what was asked for a while ago.
    pub(super) fn learn_manifest(
        &self,
        place: Place<'_>,
        digest: Option<&str>,
        media_type: Option<&str>,
        content: &[u8],
    ) -> bool {
        if digest.is_some_and(|digest| !is_content_of(digest, content)) {
            return false;
        }
        let Some(children) = children(media_type, content) else {
            return false;
        };
        let own = digest.map_or_else(|| digest_of(content), str::to_owned);
        let key = Table::key(place.registry, place.repository, &own);
        if self.0.deletions.since(place.since, Table::name(key)) {
            return true;
        }
        self.learn(place.since, key);
        for child in children {
            self.learn_digest(place, &child);
        }
        true
    }

    /// Remembers what the repository's list of referrers leads to.
    pub(super) fn learn_referrers(
        &self,
        place: Place<'_>,
        media_type: Option<&str>,
        content: &[u8],
    ) {
        for child in referrers(media_type, content).into_iter().flatten() {
            self.learn_digest(place, &child);
        }
    }

    fn learn(&self, since: DeletionCount, key: u128) {
        let deleted = || self.0.deletions.since(since, Table::name(key));
        // Asked again afterwards: who deletes notes it first and removes then.
        if !deleted() && self.0.table.insert(key) && deleted() {
            self.0.table.remove(key);
        }
    }

    /// Writes what is known, for [`DigestBinding::read_from`] after a restart: 16 bytes a pair, and 53.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_to(&self, writer: impl Write) -> io::Result<()> {
        format::write(&self.0.table, writer)
    }

    /// Adds what was written by [`DigestBinding::write_to`], all or nothing. A user that can write the file
    /// decides what content each caller gets.
    ///
    /// # Errors
    /// Returns the reader's errors; [`io::ErrorKind::InvalidData`] if the content is not what was written.
    pub fn read_from(&self, reader: impl Read + Seek) -> io::Result<()> {
        format::read(&self.0.table, reader)
    }

    pub(crate) fn asks(&self) -> bool {
        self.0.oracle.is_some()
    }

    /// The file that it is kept in.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.0.keeper.as_deref().map(Keeper::path)
    }

    /// Why what is known could not be kept the last time.
    pub(crate) fn unsaved(&self) -> Option<String> {
        self.0.keeper.as_deref().and_then(Keeper::failure)
    }

    pub(super) fn learns_from_pulls(&self) -> bool {
        self.0.pulls
    }

    pub(super) fn learns_from_referrers(&self) -> bool {
        self.0.referrers
    }

    pub(crate) fn learns_from_pushes(&self) -> bool {
        self.0.pushes
    }
}

impl fmt::Debug for DigestBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestBinding")
            .field("pulls", &self.0.pulls)
            .field("pushes", &self.0.pushes)
            .field("referrers", &self.0.referrers)
            .field("memory", &self.0.table.memory())
            .field("asks", &self.asks())
            .field("file", &self.file())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_asked_to_write_at_most_once_a_second() {
        let binding = DigestBinding::new(1).with_save_interval(Duration::ZERO);
        assert_eq!(binding.0.file.interval, Duration::from_secs(1));
    }
}
