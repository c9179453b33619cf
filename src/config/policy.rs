use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::bounds::Bounds;
use super::{ConfigError, Document, Span, place};
use crate::policy::{Damaged, DigestBinding, DigestFile, DigestOracle, Learn, Rule};

/// `[policy]`: who may do what, in a file of its own or here.
#[derive(Debug)]
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
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DigestBindingSection {
    /// Whether it is done. Default true; without the section it is not.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How many pairs of repository and digest are remembered, in 32 bytes each; at most 100,000,000.
    /// Default 1,000,000.
    #[serde(default = "a_million")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000_000)))]
    pub capacity: u32,
    /// From what: `"pulls"` (default), `"pushes"` or `"both"`.
    #[serde(default)]
    pub learn: Learn,
    /// Also from lists of referrers: only for a service that keeps one for each repository. Default
    /// false.
    #[serde(default)]
    pub referrers: bool,
    /// What becomes of digests of which nothing was seen: `"refuse"` (default) or `"ask"`.
    #[serde(default)]
    pub unknown: UnknownDigests,
    /// The file that what is known is kept in over restarts. Default: none. Its folder must be there
    /// and writable; who else may write there says what is given to whom.
    pub file: Option<PathBuf>,
    /// How often what is new is written, besides at the end; at least `"1s"`. Default `"1min"`.
    pub save_every: Option<Span>,
    /// A file that cannot be read or was changed: there is no start (`"refuse"`, default), or all is
    /// unknown again (`"forget"`).
    #[serde(default)]
    pub damaged: Damaged,
}

/// What becomes of digests of which nothing was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum UnknownDigests {
    /// They are not given.
    #[default]
    Refuse,
    /// The service is asked, by [`guard::Builder::digest_oracle`](crate::guard::Builder::digest_oracle).
    Ask,
}

/// The largest table that is made: 3.2 GB.
const CAPACITY_MAX: u64 = 100_000_000;

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
    digest_binding: Option<DigestBindingSection>,
}

fn a_million() -> u32 {
    1_000_000
}

fn yes() -> bool {
    true
}

impl Section {
    pub(super) fn checked(self, document: &Document) -> Result<PolicySection, ConfigError> {
        let rules = match (self.file, self.rules) {
            (Some(file), None) => PolicyRules::File(file),
            (None, Some(rules)) => {
                let rules = rules.into_iter().map(|rule| {
                    let start = rule.span().start;
                    rule.into_inner().at(place(document.text(), start))
                });
                PolicyRules::Here(rules.collect())
            }
            _ => return Err(document.invalid("policy", "a policy has either a `file` or `rules`")),
        };
        let binding = self.digest_binding;
        let capacity = binding.as_ref().map(|binding| binding.capacity);
        let key = "policy.digest_binding.capacity";
        Bounds(document).count(key, capacity, 1..=CAPACITY_MAX)?;
        Ok(PolicySection {
            rules,
            shadow: self.shadow,
            digest_binding: binding.filter(|binding| binding.enabled),
        })
    }
}

impl DigestBindingSection {
    /// `oracle` is whom to ask, if anybody.
    pub(crate) fn binding(
        &self,
        document: &Document,
        oracle: Option<Arc<dyn DigestOracle>>,
    ) -> Result<DigestBinding, ConfigError> {
        let capacity = self.capacity as usize;
        let binding = match (self.unknown, oracle) {
            (UnknownDigests::Refuse, _) => DigestBinding::new(capacity, self.learn),
            (UnknownDigests::Ask, Some(oracle)) => {
                DigestBinding::asking(capacity, self.learn, oracle)
            }
            (UnknownDigests::Ask, None) => {
                return Err(ConfigError::NobodyToAsk {
                    place: document.place(&"policy.digest_binding.unknown".into()),
                });
            }
        };
        let binding = binding.with_referrers(self.referrers);
        let Some(path) = &self.file else {
            return Ok(binding);
        };
        let mut file = DigestFile::new(document.resolve(path)).with_damaged(self.damaged);
        if let Some(Span(interval)) = self.save_every {
            file = file.with_interval(interval);
        }
        binding
            .kept_in(&file)
            .map_err(|error| document.unusable("policy.digest_binding.file", error))
    }
}
