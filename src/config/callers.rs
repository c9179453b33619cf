use super::{Config, ConfigError, IdentitySection};
use crate::{PeerIdentity, Principal};

/// Whom the gate takes callers for, for tools that answer as it would.
impl Config {
    /// The holder of the credential of this id, with the groups that it has; `None` if `[auth]` has no such
    /// credential.
    ///
    /// # Errors
    /// The credentials cannot be read.
    pub fn credential_holder(&self, id: &str) -> Result<Option<Principal>, ConfigError> {
        let Some(section) = &self.auth else {
            return Ok(None);
        };
        let authentication = section.authentication(&self.document, &self.watch)?;
        let credentials = authentication.credentials().map(crate::Watched::load);
        Ok(credentials.and_then(|credentials| credentials.owner(id).cloned()))
    }

    /// The holder of this certificate, by the rules of `[identity]`.
    ///
    /// # Errors
    /// The rules cannot be used.
    pub fn certificate_holder(&self, peer: PeerIdentity) -> Result<Principal, ConfigError> {
        let mapping = self.identity.as_ref().map(IdentitySection::mapping);
        let mapping = mapping
            .transpose()
            .map_err(|error| self.document.unusable("identity.map", error))?;
        Ok(match mapping {
            Some(mapping) => mapping.principal(&peer),
            None => Principal::from_peer(peer),
        })
    }
}
