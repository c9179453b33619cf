#[cfg(feature = "config")]
use std::path::PathBuf;

use super::Danger;
use crate::Watched;
use crate::auth::Authentication;
use crate::identity::Mapping;
use crate::policy::Policy;
#[cfg(feature = "config")]
use crate::reload::Load;

/// Which groups callers can be in: a rule about another one is about nobody.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    authentication: Option<Authentication>,
    mapping: Option<Watched<Mapping>>,
}

impl Groups {
    pub(super) fn new(
        authentication: Option<&Authentication>,
        mapping: Option<&Watched<Mapping>>,
    ) -> Self {
        Self {
            authentication: authentication.cloned(),
            mapping: mapping.cloned(),
        }
    }

    /// The rules that name a group in which nobody can be. Where groups are made of what certificates
    /// say, any could be.
    pub(super) fn unknown(&self, policy: &Policy) -> Vec<Danger> {
        let mapping = self.mapping.as_ref().map(Watched::load);
        let mapped = mapping.as_deref().map(Mapping::groups);
        let Some(mapped) = mapped.unwrap_or_else(|| Some(Vec::new())) else {
            return Vec::new();
        };
        let authentication = self.authentication.as_ref();
        let credentials = authentication.and_then(Authentication::credentials);
        let credentials = credentials.map(Watched::load);
        let held = credentials
            .iter()
            .flat_map(|credentials| credentials.groups());
        let known: Vec<&str> = held.chain(mapped.iter().map(String::as_str)).collect();
        let unknown = policy.unknown_groups(&known).into_iter();
        #[cfg(feature = "jwt")]
        let unknown = unknown.filter(|(_, group)| {
            let mut issuers = authentication.into_iter().flat_map(Authentication::issuers);
            !issuers.any(|issuer| issuer.may_give(group))
        });
        let dangers = unknown.map(|(rule, group)| Danger::UnknownGroup {
            rule: rule.name().into(),
            line: rule.line(),
            column: rule.column(),
            group: group.into(),
        });
        dangers.collect()
    }
}

/// A policy that is told of groups in which nobody can be when it is loaded again. At the start the
/// report does it.
#[cfg(feature = "config")]
pub(super) struct Grouped<L> {
    pub(super) policy: L,
    pub(super) groups: Groups,
}

#[cfg(feature = "config")]
impl<L: Load<Value = Policy>> Load for Grouped<L> {
    type Value = Policy;
    type Error = L::Error;

    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.policy.paths()
    }

    fn load(&mut self, previous: Option<&Policy>) -> Result<Policy, L::Error> {
        let policy = self.policy.load(previous)?;
        if previous.is_some() {
            for danger in self.groups.unknown(&policy) {
                tracing::warn!("{danger}");
            }
        }
        Ok(policy)
    }

    fn refused(&self, policy: &Policy) -> Option<String> {
        self.policy.refused(policy)
    }

    fn lapsed(&mut self, current: &Policy) -> Option<Policy> {
        self.policy.lapsed(current)
    }
}
