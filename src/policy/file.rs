use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use toml::Spanned;

use super::{
    Actions, Effect, Pattern, PatternError, Policy, PolicyError, RateClass, Rule, RuleError, Who,
};
use crate::config::{ConfigError, parse_document};
use crate::reload::Load;

/// A policy file: `[[rules]]`, one table a rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    rules: Vec<Spanned<Rule>>,
}

/// One `[[rules]]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    #[serde(default)]
    effect: Effect,
    who: Vec<Text<Who>>,
    #[serde(default)]
    networks: Vec<IpNet>,
    actions: Vec<Text<Actions>>,
    #[serde(default, deserialize_with = "repositories")]
    repositories: Vec<Pattern>,
    #[serde(default, deserialize_with = "registries")]
    registries: Vec<Pattern>,
    #[serde(default, deserialize_with = "tags")]
    tags: Vec<Pattern>,
    #[serde(default, deserialize_with = "paths")]
    paths: Vec<Pattern>,
    rate_class: Option<String>,
}

/// A value that is read from its text, so that an error has the place of that text.
#[derive(Debug)]
struct Text<T>(T);

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: FromStr<Err: std::fmt::Display>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

macro_rules! patterns {
    ($($name:ident: $make:path;)*) => {$(
        fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Pattern>, D::Error> {
            struct Kind(Pattern);

            impl FromStr for Kind {
                type Err = PatternError;

                fn from_str(text: &str) -> Result<Self, PatternError> {
                    $make(text).map(Self)
                }
            }

            let patterns = Vec::<Text<Kind>>::deserialize(deserializer)?;
            Ok(patterns.into_iter().map(|Text(Kind(pattern))| pattern).collect())
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

impl TryFrom<Table> for Rule {
    type Error = RuleError;

    fn try_from(table: Table) -> Result<Self, RuleError> {
        let who = table.who.into_iter().map(|Text(who)| who).collect();
        let actions = table.actions.into_iter().map(|Text(actions)| actions);
        let mut rule = Self::new(&table.name, table.effect, who, actions.collect())
            .in_networks(table.networks)
            .on_repositories(table.repositories)
            .of_registries(table.registries)
            .with_tags(table.tags)
            .at_paths(table.paths);
        if let Some(class) = table.rate_class {
            rule = rule.with_rate_class(RateClass::new(class));
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

    fn from_named_toml(file: &Path, text: &str) -> Result<Self, PolicyError> {
        let document: Document = parse_document(file, text)?;
        let rules = document.rules.into_iter().map(|rule| {
            let before = text.get(..rule.span().start).unwrap_or("");
            let line = before.matches('\n').count() + 1;
            Rule {
                line: Some(line),
                ..rule.into_inner()
            }
        });
        Self::new(rules)
    }
}

/// Loads a [`Policy`] from a TOML file, for [`Watched::watch`](crate::Watched::watch).
#[derive(Clone, Debug)]
pub struct PolicyFile {
    path: PathBuf,
    name: &'static str,
}

impl PolicyFile {
    /// The policy in the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            name: "policy",
        }
    }

    /// The same file, reported as a shadow policy.
    pub fn as_shadow(mut self) -> Self {
        self.name = "shadow_policy";
        self
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
        let text = std::fs::read_to_string(&self.path).map_err(|error: io::Error| {
            ConfigError::Unreadable {
                file: self.path.clone(),
                error,
            }
        })?;
        let policy = Policy::from_named_toml(&self.path, &text)?;
        for warning in policy.warnings() {
            tracing::warn!(file = %self.path.display(), "{warning}");
        }
        Ok(policy)
    }
}
