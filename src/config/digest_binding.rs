use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::bounds::{Bounds, DAY, SECOND};
use super::{ConfigError, Document, HumanDuration};
use crate::policy::{DigestBinding, DigestOracle};

/// `[policy.digest_binding]`: for services that find content by its digest alone.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct DigestBindingSection {
    /// Whether it is done. Default true; without the section it is not.
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
    /// How many pairs of repository and digest are remembered, in 32 bytes each; at most 100,000,000.
    /// Default 1,000,000.
    #[serde(default = "a_million")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000_000)))]
    pub(crate) capacity: u32,
    /// From what: `"pulls"` (default), `"pushes"` or `"both"`.
    #[serde(default)]
    pub(crate) learn: Learn,
    /// Also from lists of referrers: only for a service that keeps one for each repository. Default
    /// false.
    #[serde(default)]
    pub(crate) referrers: bool,
    /// What becomes of digests of which nothing was seen: `"refuse"` (default) or `"ask"`.
    #[serde(default)]
    pub(crate) unknown: UnknownDigests,
    /// Groups whose callers get everything by any repository: the peers of a registry of nodes, which were bound by the
    /// gate that their client asked. Default: none.
    #[serde(default)]
    pub(crate) exempt_groups: Vec<String>,
    /// The file in which the known digests are kept over restarts. Default: none. Its folder must be there and
    /// writable; other users that may write there decide what content each caller gets.
    pub(crate) file: Option<PathBuf>,
    /// How often what is new is written, besides at the end; at least `"1s"`. Default `"1min"`.
    pub(crate) save_every: Option<HumanDuration>,
    /// A file that cannot be read or was changed: there is no start (`"refuse"`, default), or all is
    /// unknown again (`"forget"`).
    #[serde(default)]
    pub(crate) damaged: Damaged,
}

/// What a [`DigestBinding`] learns from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Learn {
    /// Manifests and indexes that are pulled, and which digest a tag has.
    #[default]
    Pulls,
    /// Blobs and manifests that are pushed, and blobs that are mounted from where they are known.
    Pushes,
    /// Both.
    Both,
}

/// What becomes of digests of which nothing was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnknownDigests {
    /// They are not given.
    #[default]
    Refuse,
    /// The service is asked, by [`guard::Builder::digest_oracle`](crate::guard::Builder::digest_oracle).
    Ask,
}

/// What a file that cannot be read, or is not what was written, means at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Damaged {
    /// That there is no start.
    #[default]
    Refuse,
    /// That nothing is known yet, and the file is replaced once something is.
    Forget,
}

/// The largest table that is made: 3.2 GB.
const CAPACITY_MAX: u64 = 100_000_000;

fn a_million() -> u32 {
    1_000_000
}

fn yes() -> bool {
    true
}

impl DigestBindingSection {
    /// The section, if it is there and enabled.
    pub(super) fn checked(
        section: Option<Self>,
        document: &Document,
    ) -> Result<Option<Self>, ConfigError> {
        let check = Bounds(document);
        let capacity = section.as_ref().map(|section| section.capacity);
        let key = "policy.digest_binding.capacity";
        check.count(key, capacity, 1..=CAPACITY_MAX)?;
        let save_every = section.as_ref().and_then(|section| section.save_every);
        let key = "policy.digest_binding.save_every";
        check.span(key, save_every, SECOND..=DAY)?;
        Ok(section.filter(|section| section.enabled))
    }

    /// `oracle` is the service to ask, if there is one.
    pub(crate) fn binding(
        &self,
        document: &Document,
        oracle: Option<Arc<dyn DigestOracle>>,
    ) -> Result<DigestBinding, ConfigError> {
        let binding = DigestBinding::new(self.capacity as usize)
            .with_pulls(self.learn != Learn::Pushes)
            .with_pushes(self.learn != Learn::Pulls)
            .with_referrers(self.referrers);
        let binding = match (self.unknown, oracle) {
            (UnknownDigests::Refuse, _) => binding,
            (UnknownDigests::Ask, Some(oracle)) => binding.with_oracle(oracle),
            (UnknownDigests::Ask, None) => {
                return Err(ConfigError::NobodyToAsk {
                    place: document.place(&"policy.digest_binding.unknown".into()),
                });
            }
        };
        let Some(path) = &self.file else {
            return Ok(binding);
        };
        let mut binding = binding.with_damaged_forgotten(self.damaged == Damaged::Forget);
        if let Some(HumanDuration(interval)) = self.save_every {
            binding = binding.with_save_interval(interval);
        }
        binding
            .kept_in(document.resolve(path))
            .map_err(|error| document.unusable("policy.digest_binding.file", error))
    }
}
