use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

#[cfg(feature = "digest-binding")]
use super::DigestBindingSection;
use super::{ConfigError, Document};
use crate::policy::Rule;

/// `[policy]`: who may do what, in a file of its own or here.
#[derive(Debug)]
pub(crate) struct PolicySection {
    /// The rules.
    pub(crate) rules: PolicyRules,
    /// A policy file that is asked too, of which nothing is enforced: what it would decide otherwise
    /// is logged and counted.
    pub(crate) shadow: Option<PathBuf>,
    /// Gives content only by repositories that lead to it.
    #[cfg(feature = "digest-binding")]
    pub(crate) digest_binding: Option<DigestBindingSection>,
}

/// Where the rules are.
#[derive(Debug)]
pub(crate) enum PolicyRules {
    /// In a policy file.
    File(PathBuf),
    /// Here.
    Here(Vec<Rule>),
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename = "PolicySection", deny_unknown_fields)]
pub(super) struct Section {
    /// The policy file, followed while the server runs.
    file: Option<PathBuf>,
    /// The rules, instead of a file.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Rule>>"))]
    rules: Option<Vec<Spanned<Rule>>>,
    /// A policy file of which nothing is enforced: what it would decide otherwise is logged and
    /// counted.
    shadow: Option<PathBuf>,
    /// Gives content only by repositories that lead to it.
    #[cfg(feature = "digest-binding")]
    digest_binding: Option<DigestBindingSection>,
}

impl Section {
    pub(super) fn checked(self, document: &Document) -> Result<PolicySection, ConfigError> {
        let rules = match (self.file, self.rules) {
            (Some(file), None) => PolicyRules::File(file),
            (None, Some(rules)) => {
                let rules = rules.into_iter().map(|rule| {
                    let start = rule.span().start;
                    rule.into_inner().at(document.position(start))
                });
                PolicyRules::Here(rules.collect())
            }
            _ => return Err(document.invalid("policy", "a policy has either a `file` or `rules`")),
        };
        Ok(PolicySection {
            rules,
            shadow: self.shadow,
            #[cfg(feature = "digest-binding")]
            digest_binding: DigestBindingSection::checked(self.digest_binding, document)?,
        })
    }
}
