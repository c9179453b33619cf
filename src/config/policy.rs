use std::path::PathBuf;

use serde::Deserialize;

use crate::policy::{DigestBinding, Learn, Rule};

/// `[policy]`: who may do what, in a file of its own or here.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Section")]
#[non_exhaustive]
pub struct PolicySection {
    /// The rules.
    pub rules: PolicyRules,
    /// A policy file that is asked too, of which nothing is enforced: what it would decide otherwise
    /// is logged and counted.
    pub shadow: Option<PathBuf>,
    /// Gives content only by repositories that lead to it.
    pub digest_binding: Option<DigestBindingSection>,
}

/// Where the rules are.
#[derive(Debug)]
#[non_exhaustive]
pub enum PolicyRules {
    /// In a policy file.
    File(PathBuf),
    /// Here.
    Here(Vec<Rule>),
}

/// `[policy.digest_binding]`: for services that find content by its digest alone.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DigestBindingSection {
    /// How many pairs of repository and digest are remembered, in 32 bytes each. Default 1,000,000.
    #[serde(default = "a_million")]
    pub capacity: u32,
    /// From what: `"pulls"` (default), `"pushes"` or `"both"`.
    #[serde(default)]
    pub learn: Learn,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Section {
    /// The policy file, followed while the server runs.
    file: Option<PathBuf>,
    /// The rules, instead of a file.
    rules: Option<Vec<Rule>>,
    /// A policy file of which nothing is enforced: what it would decide otherwise is logged and
    /// counted.
    shadow: Option<PathBuf>,
    /// Gives content only by repositories that lead to it.
    digest_binding: Option<DigestBindingSection>,
}

fn a_million() -> u32 {
    1_000_000
}

#[cfg(feature = "schema")]
super::schema::is_read_as!(PolicySection, Section);

impl TryFrom<Section> for PolicySection {
    type Error = &'static str;

    fn try_from(section: Section) -> Result<Self, Self::Error> {
        let rules = match (section.file, section.rules) {
            (Some(file), None) => PolicyRules::File(file),
            (None, Some(rules)) => PolicyRules::Here(rules),
            _ => return Err("a policy has either a `file` or `rules`"),
        };
        Ok(Self {
            rules,
            shadow: section.shadow,
            digest_binding: section.digest_binding,
        })
    }
}

impl DigestBindingSection {
    pub(crate) fn binding(self) -> DigestBinding {
        DigestBinding::new(self.capacity as usize, self.learn)
    }
}
