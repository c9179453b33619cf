use std::path::Path;
#[cfg(feature = "config")]
use std::path::PathBuf;
use std::sync::Arc;

use super::SecurityWarning;
use crate::Watched;
use crate::auth::Authentication;
use crate::identity::Mapping;
use crate::policy::Policy;
#[cfg(feature = "config")]
use crate::reload::Load;

/// The groups that callers can be in: a rule about another group matches no caller.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    authentication: Option<Authentication>,
    mapping: Option<Watched<Mapping>>,
    /// The file with the policy.
    file: Option<Arc<Path>>,
    /// Whether the program may put callers into any.
    any: bool,
}

impl Groups {
    pub(super) fn new(
        authentication: Option<&Authentication>,
        mapping: Option<&Watched<Mapping>>,
        file: Option<Arc<Path>>,
    ) -> Self {
        Self {
            authentication: authentication.cloned(),
            mapping: mapping.cloned(),
            file,
            any: false,
        }
    }

    /// Lets callers be in any group, since the program says who they are.
    pub(super) fn or_any(mut self, any: bool) -> Self {
        self.any = any;
        self
    }

    /// Whether a caller may be in this group.
    #[cfg(feature = "config")]
    pub(super) fn may_have(&self, group: &str) -> bool {
        let Some(known) = self.known() else {
            return true;
        };
        let from_issuer = self.is_from_issuers(group);
        from_issuer || known.iter().any(|known| **known == *group)
    }

    /// Whether no caller is in any group.
    #[cfg(feature = "config")]
    pub(super) fn are_none(&self) -> bool {
        #[cfg(feature = "jwt")]
        if self
            .authentication
            .iter()
            .any(|all| all.issuers().next().is_some())
        {
            return false;
        }
        self.known().is_some_and(|known| known.is_empty())
    }

    /// The groups of credentials and of the rules of identity; `None` where what certificates or the program say is
    /// part of one, so that any could be.
    fn known(&self) -> Option<Vec<String>> {
        if self.any {
            return None;
        }
        let mapping = self.mapping.as_ref().map(Watched::load);
        let mapped = mapping.as_deref().map(Mapping::groups);
        let mut known = mapped.unwrap_or_else(|| Some(Vec::new()))?;
        let authentication = self.authentication.as_ref();
        let credentials = authentication.and_then(Authentication::credentials);
        if let Some(credentials) = credentials.map(Watched::load) {
            known.extend(credentials.groups().map(str::to_owned));
        }
        Some(known)
    }

    #[cfg_attr(
        not(feature = "jwt"),
        allow(
            unused_variables,
            clippy::unused_self,
            reason = "nobody's signature counts"
        )
    )]
    fn is_from_issuers(&self, group: &str) -> bool {
        #[cfg(feature = "jwt")]
        {
            let mut issuers = self.authentication.iter().flat_map(Authentication::issuers);
            issuers.any(|issuer| issuer.may_give(group))
        }
        #[cfg(not(feature = "jwt"))]
        false
    }

    /// Returns a warning for each rule about a group that no caller can be in. Where groups are made of what
    /// certificates say, a caller could be in any.
    pub(super) fn unknown(&self, policy: &Policy) -> Vec<SecurityWarning> {
        let Some(known) = self.known() else {
            return Vec::new();
        };
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let unknown = policy.unknown_groups(&known).into_iter();
        let unknown = unknown.filter(|(_, group)| !self.is_from_issuers(group));
        let warnings = unknown.map(|(rule, group)| SecurityWarning::UnknownGroup {
            file: self.file.clone(),
            rule: rule.name().into(),
            line: rule.line(),
            column: rule.column(),
            group: group.into(),
        });
        warnings.collect()
    }
}

/// A policy whose rules about groups that no caller can be in are logged when it is loaded again. At the start
/// the report does so.
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
            for warning in self.groups.unknown(&policy) {
                tracing::warn!("{warning}");
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
