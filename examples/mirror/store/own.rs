use std::fs;

use super::durable;
use super::error::if_there;
use super::{Store, StoreError};

/// Holds whether the upstream last said that it has the repository.
const UPSTREAM: &str = "_upstream";

impl Store {
    /// Whether the upstream said that it does not have this repository.
    pub(crate) fn is_denied(&self, repository: &str) -> Result<bool, StoreError> {
        Ok(self.upstream_has(repository)? == Some(false))
    }

    /// Whether what is listed here of a repository is all that there is, as far as is known: the upstream
    /// said that it does not have it, or never gave anything of one that was pushed to here.
    pub(crate) fn is_own(&self, repository: &str) -> Result<bool, StoreError> {
        if let Some(has) = self.upstream_has(repository)? {
            return Ok(!has);
        }
        let (pushed, pulled) = self.origins(repository)?;
        Ok(pushed && !pulled)
    }

    /// Whether something of the repository came from the upstream.
    pub(crate) fn has_pulled(&self, repository: &str) -> Result<bool, StoreError> {
        let noted = self.upstream_has(repository)? == Some(true);
        Ok(noted || self.origins(repository)?.1)
    }

    /// Whether a manifest is here that was pushed, and one that was pulled.
    fn origins(&self, repository: &str) -> Result<(bool, bool), StoreError> {
        let (mut pushed, mut pulled) = (false, false);
        self.for_each_manifest(repository, |_, path, _| {
            let came = Self::is_pulled_manifest(path)?;
            (pushed, pulled) = (pushed || !came, pulled || came);
            Ok(())
        })?;
        Ok((pushed, pulled))
    }

    fn upstream_has(&self, repository: &str) -> Result<Option<bool>, StoreError> {
        let path = self.repository(repository).join(UPSTREAM);
        let text = if_there(fs::read(&path), &path)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Notes what the upstream said of the repository, or showed. Of one that is not here nothing is noted.
    /// Where that cannot be done all else is right all the same.
    pub(crate) fn note_upstream(&self, repository: &str, has: bool) {
        let noted = self.try_note_upstream(repository, has);
        if let Err(error) = self.unless_full(noted) {
            tracing::warn!(repository, %error, "what the upstream has could not be noted");
        }
    }

    fn try_note_upstream(&self, repository: &str, has: bool) -> Result<(), StoreError> {
        if self.upstream_has(repository)? == Some(has) {
            return Ok(());
        }
        let path = self.repository(repository).join(UPSTREAM);
        let _changes = self.changes();
        if !self.has_repository(repository)? {
            return Ok(());
        }
        durable::replace(&self.tmp(), &path, has.to_string().as_bytes())
    }
}
