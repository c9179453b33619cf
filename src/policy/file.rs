use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

use super::error::RuleError;
use super::{Actions, Effect, Pattern, Policy, PolicyError, RateClass, Rule, Who};
use crate::Watched;
#[cfg(feature = "schema")]
use crate::document::schema::Network;
use crate::document::{self, ConfigError, Key, Lines, Text};
use crate::reload::{Load, WatchOptions};
use crate::util::file::{self, DOCUMENT};

/// A policy file: `[[rules]]`, one table a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    rules: Vec<Spanned<Rule>>,
}

/// Who may, or may not, do what on which repositories.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Table {
    /// What the log calls it.
    name: String,
    /// What it does with what it matches. A deny wins over every allow. Default `"allow"`.
    #[serde(default)]
    effect: Effect,
    /// The callers that the rule is about.
    who: Vec<Text<Who>>,
    /// The networks that callers are in. Default: any.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<Network>>"))]
    networks: Option<Vec<IpNet>>,
    /// What they do.
    actions: Vec<Text<Actions>>,
    /// Repositories by pattern: `*` is any part of one component,
    /// `**` any number of components, `{principal.id}` the caller's id.
    #[serde(default, deserialize_with = "repositories")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<String>>"))]
    repositories: Option<Vec<Pattern>>,
    /// Upstream registries (`?ns=`) by pattern. Default: any or none.
    #[serde(default, deserialize_with = "registries")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<String>>"))]
    registries: Option<Vec<Pattern>>,
    /// Tags by pattern. Default: any.
    #[serde(default, deserialize_with = "tags")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<String>>"))]
    tags: Option<Vec<Pattern>>,
    /// Paths by pattern, for the actions `extension` and `other`.
    #[serde(default, deserialize_with = "paths")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<Vec<String>>"))]
    paths: Option<Vec<Pattern>>,
    /// The class of byte rates of what it allows.
    rate_class: Option<String>,
    /// Calls the repositories of what it allows deprecated, in these words, of which authenticated callers are warned.
    deprecated: Option<String>,
}

macro_rules! patterns {
    ($($name:ident: $make:path;)*) => {$(
        fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Pattern>>, D::Error> {
            struct Kind(Pattern);

            impl FromStr for Kind {
                type Err = PolicyError;

                fn from_str(text: &str) -> Result<Self, PolicyError> {
                    $make(text).map(Self)
                }
            }

            let patterns = Vec::<Text<Kind>>::deserialize(deserializer)?;
            Ok(Some(patterns.into_iter().map(|Text(Kind(pattern))| pattern).collect()))
        }
    )*};
}

patterns! {
    repositories: Pattern::repository;
    registries: Pattern::registry;
    tags: Pattern::tag;
    paths: Pattern::path;
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Table::deserialize(deserializer)?;
        Self::try_from(table).map_err(D::Error::custom)
    }
}

#[cfg(feature = "schema")]
crate::document::schema::is_read_as!(Rule, Table);

impl TryFrom<Table> for Rule {
    type Error = RuleError;

    fn try_from(table: Table) -> Result<Self, RuleError> {
        let who = table.who.into_iter().map(|Text(who)| who).collect();
        let actions = table.actions.into_iter().map(|Text(actions)| actions);
        let mut rule = Self::new(&table.name, table.effect, who, actions.collect());
        // A list that is there and empty is an error; one that is not there is no list.
        if let Some(networks) = table.networks {
            rule = rule.in_networks(networks);
        }
        if let Some(repositories) = table.repositories {
            rule = rule.on_repositories(repositories);
        }
        if let Some(registries) = table.registries {
            rule = rule.of_registries(registries);
        }
        if let Some(tags) = table.tags {
            rule = rule.with_tags(tags);
        }
        if let Some(paths) = table.paths {
            rule = rule.at_paths(paths);
        }
        if let Some(class) = table.rate_class {
            rule = rule.with_rate_class(RateClass::new(class));
        }
        if let Some(words) = table.deprecated {
            rule = rule.with_deprecation(words);
        }
        rule.check()?;
        Ok(rule)
    }
}

impl Policy {
    /// Reads a policy from TOML. See the [module](super) for its form.
    ///
    /// # Errors
    /// What is wrong in it, with line, column and key.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        Self::from_named_toml(Path::new("policy"), text)
    }

    /// Reads the policy in a TOML file, and logs its [warnings](Policy::warnings).
    ///
    /// # Errors
    /// What is wrong with the file, with line, column and key.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, PolicyError> {
        PolicyFile::new(path).load(None)
    }

    /// Reads the policy as [`Policy::load`] does, now and whenever the file changes. Where the file could not be used
    /// for [`stale_after`](WatchOptions::stale_after), the policy that is left allows nothing.
    ///
    /// # Errors
    /// What is wrong with the file now. Later errors leave the last good policy active.
    pub fn watch(
        path: impl Into<PathBuf>,
        options: WatchOptions,
    ) -> Result<Watched<Self>, PolicyError> {
        Watched::watch(PolicyFile::new(path), options)
    }

    fn from_named_toml(file: &Path, text: &str) -> Result<Self, PolicyError> {
        let document: Document = document::parse(file, text)?;
        let lines = Lines::of(text);
        let rules = document.rules.into_iter().map(|rule| {
            let start = rule.span().start;
            rule.into_inner().at(lines.position(text, start))
        });
        Self::new(rules).map_err(|error| match error {
            PolicyError::DuplicateName { second, .. } => {
                let key = Key::from("rules").at(second - 1).key("name");
                let document = document::Document::of_file(file, text.to_owned());
                document.invalid(key, error).into()
            }
            error => error,
        })
    }
}

/// Loads a [`Policy`] from a TOML file.
#[derive(Clone, Debug)]
pub(crate) struct PolicyFile {
    path: PathBuf,
    name: &'static str,
}

impl PolicyFile {
    /// Reads the policy in the file at `path`.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            name: "policy",
        }
    }

    /// Reads the policy in the file at `path`, which is reported as a shadow policy.
    pub(crate) fn shadow(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            name: "shadow_policy",
        }
    }
}

impl Load for PolicyFile {
    type Value = Policy;
    type Error = PolicyError;

    fn name(&self) -> &'static str {
        self.name
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn load(&mut self, _: Option<&Policy>) -> Result<Policy, PolicyError> {
        let text =
            file::read_text(&self.path, DOCUMENT).map_err(|error| ConfigError::Unreadable {
                file: self.path.clone(),
                error,
            })?;
        let policy = Policy::from_named_toml(&self.path, &text)?;
        for warning in policy.warnings() {
            tracing::warn!(file = %self.path.display(), "{warning}");
        }
        Ok(policy)
    }

    fn lapsed(&mut self, _: &Policy) -> Option<Policy> {
        // No rule allows nothing.
        Policy::new([]).ok()
    }
}
