use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::authority::Authorities;
use super::observe::{Successors, observe};
use super::sources::{Files, from_bytes};
use super::{
    AuthorityRule, DenyList, LoadError, Options, Requirements, Revocation, evaluation_time,
};
use crate::Watched;
use crate::reload::{Pinned, WatchOptions};

/// Makes a [`Revocation`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is given lists"]
pub struct Builder {
    options: Options,
    rules: Vec<AuthorityRule>,
    denied: Option<Watched<DenyList>>,
    without_crls: bool,
    authorities: Vec<CertificateDer<'static>>,
    signers: Vec<PathBuf>,
    as_of: Option<SystemTime>,
}

impl Revocation {
    /// Begins with no list and the strictest options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Reads CRLs as [`Builder::from_files`] does, with these options and nothing else.
    ///
    /// # Errors
    /// A file that is missing, empty or no CRL.
    pub fn from_files<P: Into<PathBuf>>(
        paths: impl IntoIterator<Item = P>,
        options: Options,
        watch: WatchOptions,
    ) -> Result<Self, LoadError> {
        Self::builder()
            .with_options(options)
            .from_files(paths, watch)
    }

    /// Reads CRLs as [`Builder::from_bytes`] does, with these options and nothing else.
    ///
    /// # Errors
    /// What is no CRL.
    pub fn from_bytes<'a>(
        contents: impl IntoIterator<Item = &'a [u8]>,
        options: Options,
    ) -> Result<Self, LoadError> {
        Self::builder().with_options(options).from_bytes(contents)
    }
}

impl Builder {
    /// Checks in this way. Default: the strictest.
    pub fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Requires other things of the certificates under some client CAs. Default: the same under all.
    pub fn with_rules(mut self, rules: impl IntoIterator<Item = AuthorityRule>) -> Self {
        self.rules.extend(rules);
        self
    }

    /// Denies what is on this list too, however the CRLs are, and for as long as it is on it.
    pub fn with_denied(mut self, denied: impl Into<Watched<DenyList>>) -> Self {
        self.denied = Some(denied.into());
        self
    }

    /// Asks no CRL for certificates under client CAs for which no rule says otherwise.
    pub fn without_crls(mut self) -> Self {
        self.without_crls = true;
        self
    }

    /// Knows these CA certificates and CRL signers besides those on the paths: with the CAs here, a
    /// list's signature is checked while it is loaded and its bytes need not be kept. That of another CA
    /// is checked when the first path with that CA is looked at, on the thread that asks: some 22 ms for
    /// a million entries. They are not trusted for being known: what they sign counts only under the anchor of the path in question, and
    /// only if lists tell that neither they nor the CAs above them are revoked.
    pub fn with_authorities(
        mut self,
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Self {
        self.authorities.extend(certificates);
        self
    }

    /// Adds further signers as [`Builder::with_authorities`] does, from PEM files that may change.
    pub fn with_authority_files<P: Into<PathBuf>>(
        mut self,
        files: impl IntoIterator<Item = P>,
    ) -> Self {
        self.signers.extend(files.into_iter().map(Into::into));
        self
    }

    /// Reads the lists as of this time rather than now: of two versions the one that was active then, and none
    /// that was issued between then and now. For a question about the past.
    pub fn as_of(mut self, time: SystemTime) -> Self {
        self.as_of = Some(time);
        self
    }

    /// Reads CRLs from files and directories, PEM or DER, compressed by gzip or not, now and whenever
    /// they change.
    ///
    /// # Errors
    /// A file that is missing, empty or no CRL.
    pub fn from_files<P: Into<PathBuf>>(
        self,
        paths: impl IntoIterator<Item = P>,
        watch: WatchOptions,
    ) -> Result<Revocation, LoadError> {
        self.watch(paths.into_iter().map(Into::into).collect(), watch)
    }

    /// Fetches CRLs, waiting for those of which no current one is kept, and then goes on fetching them
    /// for as long as the [`Revocation`] or a clone of it lives. Reads those in the other files and
    /// directories too, of which there need be none. A fetched list must be signed by one of the
    /// authorities.
    ///
    /// This blocks until the lists are there: a server calls it before it begins to serve.
    ///
    /// # Errors
    /// A list that is neither kept nor to be had; a file that is missing, empty or no CRL.
    #[cfg(feature = "crl-fetch")]
    pub fn fetching<P: Into<PathBuf>>(
        self,
        fetch: &super::Fetch,
        paths: impl IntoIterator<Item = P>,
        watch: WatchOptions,
    ) -> Result<Revocation, LoadError> {
        let (certificates, authorities) = self.authorities()?;
        let max_size = self.options.max_size;
        let fetched =
            super::fetch::Fetched::begin(fetch, &certificates, &Arc::new(authorities), max_size)?;
        let files = fetched.files();
        let paths = paths.into_iter().map(Into::into).chain(files).collect();
        let revocation = self.watch(paths, watch)?;
        let fetching = fetched.go_on(revocation.lists().clone())?;
        Ok(revocation.with_fetching(fetching))
    }

    fn watch(self, paths: Vec<PathBuf>, watch: WatchOptions) -> Result<Revocation, LoadError> {
        let (files, requirements) = self.files(paths);
        let lists = Watched::watch(files, watch)?;
        Ok(Revocation::new(lists, requirements))
    }

    fn requirements(&self) -> Requirements {
        Requirements {
            options: self.options,
            rules: self.rules.as_slice().into(),
            without_crls: self.without_crls,
            denied: self.denied.clone(),
        }
    }

    /// Returns the reader of the lists; the caller decides when it reads.
    pub(crate) fn files(self, paths: Vec<PathBuf>) -> (Files, Requirements) {
        let provider = crate::crypto::provider();
        let requirements = self.requirements();
        let files = Files {
            paths,
            signers: self.signers,
            authorities: self.authorities,
            algorithms: provider.signature_verification_algorithms,
            max_size: self.options.max_size,
            as_of: self.as_of.map(evaluation_time::seconds),
            successors: Successors::default(),
            // Where a rule says that there are none.
            may_be_none: self.without_crls
                || !requirements.rules.is_empty()
                || self.options.short_lived.is_some(),
        };
        (files, requirements)
    }

    /// The authorities' certificates, as they are now.
    fn authorities(&self) -> Result<(Vec<CertificateDer<'static>>, Authorities), LoadError> {
        let provider = crate::crypto::provider();
        let mut certificates = self.authorities.clone();
        super::sources::read_authorities(
            &self.signers,
            &[],
            &mut Pinned::new(),
            &mut certificates,
        )?;
        let algorithms = provider.signature_verification_algorithms;
        let authorities = Authorities::new(&certificates, algorithms)?;
        Ok((certificates, authorities))
    }

    /// Takes CRLs from the program: each the content of a file, as of [`Builder::from_files`]. The authorities' files
    /// are read once.
    ///
    /// # Errors
    /// What is no CRL.
    pub fn from_bytes<'a>(
        self,
        contents: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Revocation, LoadError> {
        let (_, authorities) = self.authorities()?;
        let as_of = self.as_of.map(evaluation_time::seconds);
        let max_size = self.options.max_size;
        let lists = from_bytes(contents, Arc::new(authorities), None, max_size, as_of)?;
        observe(&lists, None);
        let refusal = lists.refusal();
        let lists = Watched::fixed(lists);
        if let Some(reason) = refusal {
            lists.failed(reason);
        }
        Ok(Revocation::new(lists, self.requirements()))
    }
}
