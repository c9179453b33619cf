use super::{Config, ConfigError};
use crate::{PeerIdentity, Principal};

/// The callers that the gate finds, for tools that answer as the gate does.
impl Config {
    /// Returns the owner of the credential of this id, with the owner's groups; `None` if `[auth]` has no such
    /// credential.
    ///
    /// # Errors
    /// Returns an error if the credentials cannot be read.
    pub fn credential_owner(&self, id: &str) -> Result<Option<Principal>, ConfigError> {
        let Some(section) = &self.auth else {
            return Ok(None);
        };
        let authentication = section.authentication(&self.document)?;
        let credentials = authentication.credentials().map(crate::Watched::load);
        Ok(credentials.and_then(|credentials| credentials.owner(id).cloned()))
    }

    /// Returns the owner of this certificate, by the rules of `[identity]`.
    ///
    /// # Errors
    /// Returns an error if the rules cannot be used.
    pub fn certificate_owner(&self, peer: PeerIdentity) -> Result<Principal, ConfigError> {
        let section = self.identity.as_ref();
        let mapping = section.map(|section| section.mapping(&self.document));
        Ok(match mapping.transpose()? {
            Some(mapping) => mapping.principal(&peer),
            None => Principal::from_peer(peer),
        })
    }
}
