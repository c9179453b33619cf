use std::sync::Arc;

use ipnet::IpNet;

use super::error::RuleError;
use super::{Actions, Pattern, RateClass, Who};

/// Who may, or may not, do what on which repositories.
///
/// ```
/// use portcullis::policy::{Actions, Pattern, Policy, Rule, Who};
///
/// let policy = Policy::new([
///     Rule::allow("public", Who::Anyone, Actions::PULL)
///         .on_repositories([Pattern::repository("library/**")?]),
///     Rule::allow("ci", "token:ci".parse()?, Actions::PULL | Actions::PUSH)
///         .on_repositories([Pattern::repository("team/*")?]),
/// ])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) name: Arc<str>,
    pub(super) effect: Effect,
    pub(super) who: Vec<Who>,
    pub(super) networks: Vec<IpNet>,
    pub(super) actions: Actions,
    pub(super) repositories: Vec<Pattern>,
    pub(super) registries: Vec<Pattern>,
    pub(super) tags: Vec<Pattern>,
    pub(super) paths: Vec<Pattern>,
    pub(super) rate_class: Option<RateClass>,
    pub(super) deprecated: Option<Arc<str>>,
    /// A list that was given and names nothing, which must not become everything.
    pub(super) empty: Option<&'static str>,
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
}

/// What a rule does with what it matches. A deny wins over every allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
pub(crate) enum Effect {
    /// Lets it in.
    #[default]
    Allow,
    /// Turns it away.
    Deny,
}

impl Rule {
    /// Lets `who` do `actions`.
    pub fn allow(name: impl AsRef<str>, who: Who, actions: Actions) -> Self {
        Self::new(name.as_ref(), Effect::Allow, vec![who], actions)
    }

    /// Keeps `who` from doing `actions`, whatever other rules allow.
    pub fn deny(name: impl AsRef<str>, who: Who, actions: Actions) -> Self {
        Self::new(name.as_ref(), Effect::Deny, vec![who], actions)
    }

    pub(super) fn new(name: &str, effect: Effect, who: Vec<Who>, actions: Actions) -> Self {
        // Without its uploads no tag can be set; a deny of setting tags leaves them alone.
        let sets_tags = actions.intersects(Actions::CREATE | Actions::REPLACE | Actions::MOVE);
        let actions = match effect {
            Effect::Allow if sets_tags => actions | Actions::UPLOAD,
            _ => actions,
        };
        Self {
            name: name.into(),
            effect,
            who,
            networks: Vec::new(),
            actions,
            repositories: Vec::new(),
            registries: Vec::new(),
            tags: Vec::new(),
            paths: Vec::new(),
            rate_class: None,
            deprecated: None,
            empty: None,
            line: None,
            column: None,
        }
    }

    /// Applies the rule to these callers too.
    pub fn or_who(mut self, who: impl IntoIterator<Item = Who>) -> Self {
        self.who.extend(who);
        self
    }

    /// Applies the rule to callers in these networks only. Default: in any. A policy with a rule for none is an error,
    /// as for the other lists of a rule.
    pub fn in_networks(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        let networks = networks.into_iter().map(crate::source::canonical);
        self.networks.extend(networks);
        self.note_if_empty(self.networks.is_empty(), "networks");
        self
    }

    /// Applies the rule to these repositories. Needed for pull, push, delete and list.
    pub fn on_repositories(mut self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        self.repositories.extend(patterns);
        self.note_if_empty(self.repositories.is_empty(), "repositories");
        self
    }

    /// Applies the rule to requests that name one of these upstream registries (`?ns=`). Default: any or
    /// none.
    ///
    /// A rule that denies is also about requests that name none, since the service may take them for
    /// one of these; and a pattern without a port in it is about every port.
    pub fn of_registries(mut self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        self.registries.extend(patterns);
        self.note_if_empty(self.registries.is_empty(), "registries");
        self
    }

    /// Applies the rule to these tags. Default: any.
    ///
    /// What names no tag (a blob, a manifest by its digest) is allowed by such a rule and not denied
    /// by it. A delete by digest, of a manifest or a blob, is the other way round: it takes from tags that
    /// the request does not name, so it is denied by such a rule and not allowed by it.
    pub fn with_tags(mut self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        self.tags.extend(patterns);
        self.note_if_empty(self.tags.is_empty(), "tags");
        self
    }

    /// Applies the rule to these paths. Needed for [`Actions::EXTENSION`] and [`Actions::OTHER`].
    pub fn at_paths(mut self, patterns: impl IntoIterator<Item = Pattern>) -> Self {
        self.paths.extend(patterns);
        self.note_if_empty(self.paths.is_empty(), "paths");
        self
    }

    /// Puts what the rule allows into this class of byte rates.
    pub fn with_rate_class(mut self, class: RateClass) -> Self {
        self.rate_class = Some(class);
        self
    }

    fn note_if_empty(&mut self, is_empty: bool, list: &'static str) {
        if is_empty {
            self.empty = Some(list);
        } else if self.empty == Some(list) {
            self.empty = None;
        }
    }

    /// Calls the repositories of what the rule allows deprecated, in these words, of which callers that are
    /// authenticated are warned. Default: they are not.
    pub fn with_deprecation(mut self, words: impl AsRef<str>) -> Self {
        self.deprecated = Some(words.as_ref().into());
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the line of the file that the rule begins in, from 1.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// Returns the column of that line that it begins at, in characters, from 1.
    pub fn column(&self) -> Option<usize> {
        self.column
    }

    /// The rule as one that begins there.
    #[cfg(feature = "config")]
    pub(crate) fn at(self, (line, column): (usize, usize)) -> Self {
        Self {
            line: Some(line),
            column: Some(column),
            ..self
        }
    }

    /// Returns whether the rule denies what it matches; otherwise it allows it. A deny wins over every allow.
    pub fn denies(&self) -> bool {
        self.effect == Effect::Deny
    }

    /// Returns the class of byte rates of what it allows.
    pub fn rate_class(&self) -> Option<&RateClass> {
        self.rate_class.as_ref()
    }

    /// Returns what callers are warned of where the rule allows something.
    pub fn deprecation(&self) -> Option<&str> {
        self.deprecated.as_deref()
    }

    /// Returns the groups that it names.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.who.iter().filter_map(|who| match who {
            Who::Group(group) => Some(&**group),
            _ => None,
        })
    }

    /// The rule without the actions that it cannot be about: "any" on some repositories is nothing
    /// that lists them all, and nothing at a path that is not named.
    pub(super) fn narrowed(mut self) -> Self {
        if self.paths.is_empty() {
            self.actions = self.actions.without(Actions::EXTENSION | Actions::OTHER);
        }
        if self.is_about_some() {
            self.actions = self.actions.without(Actions::PROBE | Actions::CATALOG);
        }
        if self.effect == Effect::Deny {
            let others = self.registries.iter().filter_map(Pattern::other_ports);
            let others: Vec<Pattern> = others.collect();
            self.registries.extend(others);
        }
        self
    }

    fn is_about_some(&self) -> bool {
        let everything = self.repositories.iter().any(Pattern::is_universal);
        !self.repositories.is_empty() && !everything
    }

    /// What keeps the rule from ever matching, or leaves open what it is about.
    pub(super) fn check(&self) -> Result<(), RuleError> {
        if self.name.trim().is_empty() {
            return Err(RuleError::NoName);
        }
        if self.who.is_empty() {
            return Err(RuleError::NoWho);
        }
        if self.actions.is_empty() {
            return Err(RuleError::NoActions);
        }
        if let Some(list) = self.empty {
            return Err(RuleError::Empty(list));
        }
        let wants_repositories = !self.actions.on_repositories().is_empty();
        if wants_repositories && self.repositories.is_empty() {
            return Err(RuleError::NoRepositories);
        }
        if !wants_repositories && !self.repositories.is_empty() {
            return Err(RuleError::UnusedRepositories);
        }
        let whole = Actions::PROBE | Actions::CATALOG;
        if self.actions != Actions::ANY && self.actions.intersects(whole) && self.is_about_some() {
            return Err(RuleError::WholeRegistry);
        }
        let wants_paths = !self.actions.on_paths().is_empty();
        if wants_paths && self.paths.is_empty() && self.actions != Actions::ANY {
            return Err(RuleError::NoPaths);
        }
        if !wants_paths && !self.paths.is_empty() {
            return Err(RuleError::UnusedPaths);
        }
        if self.effect == Effect::Deny && self.rate_class.is_some() {
            return Err(RuleError::RateOfNothing);
        }
        if let Some(words) = &self.deprecated {
            if self.effect == Effect::Deny || !wants_repositories {
                return Err(RuleError::DeprecatesNothing);
            }
            if words.trim().is_empty() {
                return Err(RuleError::NoDeprecation);
            }
        }
        Ok(())
    }
}
