use super::durable;
use super::error::{At as _, if_there};
use super::{Store, StoreError};

/// Marks a repository that the upstream said it does not have.
const OWN: &str = "_own";

impl Store {
    /// Whether the upstream said that it does not have this repository, which was pushed here.
    pub(crate) fn is_own(&self, repository: &str) -> Result<bool, StoreError> {
        let path = self.repository(repository).join(OWN);
        Ok(if_there(std::fs::metadata(&path), &path)?.is_some())
    }

    /// Notes what the upstream said of the repository. Of one that is not here nothing is noted.
    pub(crate) fn set_own(&self, repository: &str, own: bool) -> Result<(), StoreError> {
        let path = self.repository(repository).join(OWN);
        let _changes = self.changes();
        if path.try_exists().at(&path)? == own {
            return Ok(());
        }
        if !own {
            return durable::remove(&path).map(drop);
        }
        if self.has_repository(repository)? {
            durable::replace(&self.tmp(), &path, b"")?;
        }
        Ok(())
    }
}
