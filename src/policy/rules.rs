use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::access::{Access, accesses, is_spare, only_access};
use super::index::Index;
use super::{
    Actions, Caller, Effect, Pattern, PolicyError, Rule, TagOracle, Verdict, Warning, Who,
};
use crate::oci::Route;

/// Rules, checked and indexed. What no rule allows is denied; a rule that denies wins over all that
/// allow.
#[derive(Debug)]
pub struct Policy {
    rules: Box<[Rule]>,
    index: Index,
    /// What some authenticated callers may do, and not every caller.
    for_the_known: Actions,
    /// What some authenticated callers may do.
    open_to_the_known: Actions,
    /// Whether showing it is to anybody's advantage.
    mixed: bool,
    /// Whether it is that of [`Policy::open`].
    is_open: bool,
    warnings: Vec<Warning>,
}

impl Policy {
    /// Makes a policy of these rules. Their order means nothing but which of several is named as the one that
    /// decided: the first.
    ///
    /// # Errors
    /// The first rule that makes no sense.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Result<Self, PolicyError> {
        let rules: Box<[Rule]> = rules.into_iter().collect();
        if u32::try_from(rules.len()).is_err() {
            return Err(PolicyError::TooMany(rules.len()));
        }
        let mut names = HashMap::new();
        for (index, rule) in (1..).zip(&rules) {
            rule.check().map_err(|error| PolicyError::Rule {
                index,
                name: rule.name().into(),
                problem: error.to_string().into(),
            })?;
            match names.entry(rule.name()) {
                Entry::Vacant(entry) => entry.insert(index),
                Entry::Occupied(entry) => {
                    return Err(PolicyError::DuplicateName {
                        first: *entry.get(),
                        second: index,
                        name: rule.name().into(),
                    });
                }
            };
        }
        let rules: Box<[Rule]> = rules.into_iter().map(Rule::narrowed).collect();
        let index = Index::new(&rules);
        let allowed = |is_about: fn(&Rule) -> bool| {
            let allows = rules.iter().filter(|rule| !rule.denies());
            allows
                .filter(|rule| is_about(rule))
                .map(|rule| rule.actions)
                .collect()
        };
        let for_the_known = allowed(Rule::needs_credentials);
        let open_to_the_known = allowed(Rule::includes_the_known);
        let mixed = rules.iter().any(Rule::favours_the_known);
        let warnings = super::check::warnings(&rules, &index);
        Ok(Self {
            rules,
            index,
            for_the_known,
            open_to_the_known,
            mixed,
            is_open: false,
            warnings,
        })
    }

    /// Makes a policy that allows everything to every caller.
    pub fn open() -> Self {
        let repositories = Pattern::repository("**").into_iter();
        let paths = Pattern::path("/**").into_iter();
        let everything = Rule::allow("everything", Who::Anyone, Actions::ANY)
            .on_repositories(repositories)
            .at_paths(paths);
        let mut open = Self::new([everything]).unwrap_or_else(|_| Self::empty());
        open.is_open = !open.rules.is_empty();
        open
    }

    /// A policy that allows nothing to anybody.
    fn empty() -> Self {
        Self {
            rules: Box::default(),
            index: Index::new(&[]),
            for_the_known: Actions::default(),
            open_to_the_known: Actions::default(),
            mixed: false,
            is_open: false,
            warnings: Vec::new(),
        }
    }

    /// Decides whether `caller` may do what `route` says, every part of it.
    ///
    /// The question is answered from the policy alone: whether a repository or a tag exists changes
    /// nothing but which of [`Actions::CREATE`], [`Actions::REPLACE`] and [`Actions::MOVE`] a push
    /// needs.
    pub fn decide(
        &self,
        caller: &Caller<'_>,
        route: &Route,
        tags: Option<&dyn TagOracle>,
    ) -> Verdict {
        if let Some(access) = only_access(route) {
            return self.judge(caller, &access);
        }
        let mut first: Option<Verdict> = None;
        for access in accesses(route, tags) {
            let verdict = self.judge(caller, &access);
            if verdict.refusal().is_some() {
                // A mount is the last thing that is asked for.
                return match first {
                    Some(upload) if is_spare(route, &access) => upload.without_mount(),
                    _ => verdict,
                };
            }
            first.get_or_insert(verdict);
        }
        // Every route is at least one access; if it were none, nothing would allow it.
        first.unwrap_or_else(Verdict::unmatched)
    }

    pub(super) fn judge(&self, caller: &Caller<'_>, access: &Access<'_>) -> Verdict {
        let mut allow: Option<u32> = None;
        let mut deny: Option<u32> = None;
        let anonymous = caller.is_anonymous();
        let mut credentials = anonymous && self.open_to_the_known.intersects(access.action);
        self.index.candidates(access, caller.principal, |number| {
            let rule = &self.rules[number as usize];
            let best = match rule.effect {
                Effect::Allow => &mut allow,
                Effect::Deny => &mut deny,
            };
            let first = best.is_none_or(|best| number < best);
            let for_everybody = rule.effect == Effect::Deny && rule.covers_the_known();
            let matters = first || credentials && for_everybody;
            if matters && rule.mismatch(access, caller).is_none() {
                credentials &= !for_everybody;
                if first {
                    *best = Some(number);
                }
            }
        });
        match (deny, allow) {
            (Some(rule), _) => Verdict::denied(rule, access.action, credentials),
            (None, Some(rule)) => Verdict::allowed(rule, access.action),
            (None, None) if access.action == Actions::PROBE => self.probe(caller),
            (None, None) => Verdict::unallowed(
                access.action,
                anonymous && self.for_the_known.intersects(access.action),
            ),
        }
    }

    /// `/v2/` answers nothing but whether credentials are good, so every caller that may do anything may
    /// request it. Docker never authenticates after a 200 there: where some things need credentials, it takes
    /// credentials, unless a rule decides otherwise.
    fn probe(&self, caller: &Caller<'_>) -> Verdict {
        let anonymous = caller.is_anonymous();
        if anonymous && self.mixed {
            return Verdict::unallowed(Actions::PROBE, true);
        }
        let mut allow: Option<u32> = None;
        self.index.allows(caller.principal, |number| {
            let rule = &self.rules[number as usize];
            if allow.is_none_or(|best| number < best) && rule.is_about_caller(caller) {
                allow = Some(number);
            }
        });
        match allow {
            Some(rule) => Verdict::allowed(rule, Actions::PROBE),
            None => Verdict::unallowed(Actions::PROBE, false),
        }
    }

    /// Whether it allows every route to every caller, so that no question has to be asked of it.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Returns the rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the rule that decided, if one did.
    pub fn rule_of(&self, verdict: &Verdict) -> Option<&Rule> {
        self.rules.get(verdict.rule()?)
    }

    /// Returns what an operator probably did not mean.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns the groups that rules name and that are none of `known`.
    pub fn unknown_groups<'a>(&'a self, known: &[&str]) -> Vec<(&'a Rule, &'a str)> {
        let named = self
            .rules
            .iter()
            .flat_map(|rule| rule.groups().map(move |group| (rule, group)));
        named.filter(|(_, group)| !known.contains(group)).collect()
    }
}
