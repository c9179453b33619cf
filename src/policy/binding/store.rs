use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use super::manifest::{children, digest_of, is_content_of};
use super::table::Table;

/// Which repositories lead to which digests, as far as it was seen. `Clone` costs an `Arc`.
///
/// What is learnt is as good as the registries behind: a registry that takes a manifest without
/// having its layers in the same repository lets whoever pushes there name any layer. So what is
/// pulled by ([`Learn::Pulls`], for a mirror of such registries as check that) and what is pushed by
/// ([`Learn::Pushes`], for a registry of its own) are learnt from apart.
#[derive(Clone)]
pub struct DigestBinding(Arc<Inner>);

/// What a [`DigestBinding`] learns from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Learn {
    /// Manifests and indexes that are pulled, and which digest a tag has.
    #[default]
    Pulls,
    /// Blobs and manifests that are pushed, and blobs that are mounted from where they are known.
    Pushes,
    /// Both.
    Both,
}

/// Says whether a repository leads to a digest of which nothing was seen.
pub trait DigestOracle: Send + Sync {
    /// Whether it does. Asked on the thread that serves the request: answer from memory, or nearly.
    fn leads_to(&self, registry: Option<&str>, repository: &str, digest: &str) -> bool;
}

impl<F> DigestOracle for F
where
    F: Fn(Option<&str>, &str, &str) -> bool + Send + Sync,
{
    fn leads_to(&self, registry: Option<&str>, repository: &str, digest: &str) -> bool {
        self(registry, repository, digest)
    }
}

struct Inner {
    table: Table,
    learn: Learn,
    oracle: Option<Box<dyn DigestOracle>>,
}

impl DigestBinding {
    /// Remembers this many pairs of a repository and a digest, in 32 bytes each that are taken at
    /// once. Of what was not seen, or forgotten, nothing is given.
    pub fn new(capacity: usize, learn: Learn) -> Self {
        Self(Arc::new(Inner {
            table: Table::new(capacity),
            learn,
            oracle: None,
        }))
    }

    /// [`DigestBinding::new`] that asks about what was not seen, instead of refusing it.
    pub fn asking(capacity: usize, learn: Learn, oracle: impl DigestOracle + 'static) -> Self {
        Self(Arc::new(Inner {
            table: Table::new(capacity),
            learn,
            oracle: Some(Box::new(oracle)),
        }))
    }

    /// Whether the repository is known to lead to the digest.
    pub fn leads_to(&self, registry: Option<&str>, repository: &str, digest: &str) -> bool {
        let key = Table::key(registry, repository, digest);
        if self.0.table.contains(key) {
            return true;
        }
        let oracle = self.0.oracle.as_deref();
        let leads = oracle.is_some_and(|oracle| oracle.leads_to(registry, repository, digest));
        if leads {
            self.0.table.insert(key);
        }
        leads
    }

    /// Remembers that the repository leads to the digest.
    pub fn bind(&self, registry: Option<&str>, repository: &str, digest: &str) {
        let key = Table::key(registry, repository, digest);
        self.0.table.insert(key);
    }

    /// Remembers what a manifest or index of the repository leads to, and its own digest, if it is
    /// what `digest` says or nothing says. Gives whether it was.
    pub fn bind_manifest(
        &self,
        registry: Option<&str>,
        repository: &str,
        digest: Option<&str>,
        content: &[u8],
    ) -> bool {
        if digest.is_some_and(|digest| !is_content_of(digest, content)) {
            return false;
        }
        let Some(children) = children(content) else {
            return false;
        };
        match digest {
            Some(digest) => self.bind(registry, repository, digest),
            None => self.bind(registry, repository, &digest_of(content)),
        }
        for child in children {
            self.bind(registry, repository, &child);
        }
        true
    }

    /// Remembers what the repository's list of referrers leads to.
    pub(super) fn bind_referrers(&self, registry: Option<&str>, repository: &str, content: &[u8]) {
        for child in children(content).into_iter().flatten() {
            self.bind(registry, repository, &child);
        }
    }

    /// Writes what is known, for [`DigestBinding::read_from`] after a restart.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_to(&self, writer: impl Write) -> io::Result<()> {
        self.0.table.write_to(writer)
    }

    /// Adds what was written by [`DigestBinding::write_to`]. Who can write the file decides what is
    /// given to whom.
    ///
    /// # Errors
    /// The reader's, and a file that ends within an entry.
    pub fn read_from(&self, reader: impl Read) -> io::Result<()> {
        self.0.table.read_from(reader)
    }

    pub(super) fn learns_from_pulls(&self) -> bool {
        matches!(self.0.learn, Learn::Pulls | Learn::Both)
    }

    pub(super) fn learns_from_pushes(&self) -> bool {
        matches!(self.0.learn, Learn::Pushes | Learn::Both)
    }
}

impl fmt::Debug for DigestBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DigestBinding")
            .field("learn", &self.0.learn)
            .field("memory", &self.0.table.memory())
            .field("asks", &self.0.oracle.is_some())
            .finish()
    }
}
