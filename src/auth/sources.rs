use std::path::PathBuf;
use std::time::Duration;

use super::{CredentialError, CredentialSource, Credentials};
use crate::Watched;
use crate::reload::{Load, WatchOptions};

/// How credentials are read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CredentialOptions {
    /// How their files are watched.
    pub watch: WatchOptions,
    /// Use of a secret that expires within this time is logged and counted. Default 14 days.
    pub warn_before: Option<Duration>,
}

impl CredentialOptions {
    /// Sets [`CredentialOptions::watch`].
    pub fn with_watch(mut self, options: WatchOptions) -> Self {
        self.watch = options;
        self
    }

    /// Sets [`CredentialOptions::warn_before`].
    pub fn with_warn_before(mut self, time: Duration) -> Self {
        self.warn_before = Some(time);
        self
    }
}

impl Credentials {
    /// Reads the credentials of all sources now, and again whenever their files change.
    ///
    /// # Errors
    /// A credential that is missing, empty or not to be used.
    pub fn watch(
        sources: impl IntoIterator<Item = CredentialSource>,
        options: CredentialOptions,
    ) -> Result<Watched<Self>, CredentialError> {
        let sources = Sources::new(sources.into_iter().collect(), options.warn_before);
        Watched::watch(sources, options.watch)
    }
}

/// Reads all credentials of some sources.
pub(crate) struct Sources {
    all: Vec<CredentialSource>,
    warn_before: Duration,
    none_allowed: bool,
}

impl Sources {
    pub(crate) fn new(sources: Vec<CredentialSource>, warn_before: Option<Duration>) -> Self {
        Self {
            all: sources,
            warn_before: warn_before.unwrap_or(Duration::from_hours(14 * 24)),
            none_allowed: false,
        }
    }

    /// Accepts that there is no credential at all, because callers can come in otherwise.
    #[cfg(feature = "config")]
    pub(crate) fn with_none_allowed(mut self, allowed: bool) -> Self {
        self.none_allowed = allowed;
        self
    }
}

impl Load for Sources {
    type Value = Credentials;
    type Error = CredentialError;

    fn name(&self) -> &'static str {
        "tokens"
    }

    fn paths(&self) -> Vec<PathBuf> {
        let sources = self.all.iter();
        sources.filter_map(CredentialSource::path).collect()
    }

    fn load(&mut self, _: Option<&Credentials>) -> Result<Credentials, CredentialError> {
        let mut all = Vec::new();
        for source in &self.all {
            all.extend(source.read()?);
        }
        let all = if self.none_allowed {
            Credentials::or_none(all)
        } else {
            Credentials::new(all)
        };
        all.map(|all| all.with_warning_before(self.warn_before))
    }
}
