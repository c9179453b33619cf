use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::UnixTime;

use super::store::{Judgement, Lists};
use super::{CertPath, LoadError, Options, Tracked, Verdict, sources};
use crate::Watched;
use crate::reload::WatchOptions;

/// The CRLs in force and how they are used. `Clone` costs two `Arc`s; clones share the lists.
#[derive(Clone, Debug)]
pub struct Revocation {
    lists: Watched<Lists>,
    options: Options,
    algorithms: Arc<WebPkiSupportedAlgorithms>,
}

impl Revocation {
    /// Reads CRLs from files and directories, PEM or DER, now and whenever they change.
    ///
    /// # Errors
    /// A file that is missing, empty or no CRL.
    pub fn from_files<P: Into<PathBuf>>(
        paths: impl IntoIterator<Item = P>,
        options: Options,
        watch: WatchOptions,
    ) -> Result<Self, LoadError> {
        let paths = paths.into_iter().map(Into::into).collect();
        let lists = Watched::watch(sources::Files { paths }, watch)?;
        Self::new(lists, options)
    }

    /// Takes CRLs from the program: each the content of a file, PEM or DER.
    ///
    /// # Errors
    /// What is no CRL.
    pub fn from_bytes<'a>(
        contents: impl IntoIterator<Item = &'a [u8]>,
        options: Options,
    ) -> Result<Self, LoadError> {
        Self::new(
            Watched::fixed(sources::from_bytes(contents, None)?),
            options,
        )
    }

    fn new(lists: Watched<Lists>, options: Options) -> Result<Self, LoadError> {
        let provider = crate::tls::provider().ok_or(LoadError::NoProvider)?;
        Ok(Self {
            lists,
            options,
            algorithms: Arc::new(provider.signature_verification_algorithms),
        })
    }

    /// Puts other CRLs in force, but for those that are older than what they would replace.
    ///
    /// # Errors
    /// What is no CRL; those in force then stay.
    pub fn publish<'a>(
        &self,
        contents: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<u64, LoadError> {
        let lists = sources::from_bytes(contents, Some(&self.lists.load()))?;
        Ok(self.lists.publish(lists))
    }

    /// What the CRLs say of a path at a time.
    pub fn examine(&self, path: &CertPath, at: UnixTime) -> Verdict {
        self.judge(path, at.as_secs()).1.verdict
    }

    /// Begins to follow a path for as long as its connection lasts.
    pub fn track(&self, path: CertPath) -> Tracked {
        Tracked::new(self.clone(), path)
    }

    /// The lists in force.
    pub fn lists(&self) -> &Watched<Lists> {
        &self.lists
    }

    /// The judgement, and the generation of the lists that it was made with.
    pub(super) fn judge(&self, path: &CertPath, now: u64) -> (u64, Judgement) {
        let lists = self.lists.load();
        let judgement = lists.judge(path, self.options, &self.algorithms, now);
        (lists.generation(), judgement)
    }
}
