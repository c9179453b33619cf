use std::fmt;
use std::sync::Arc;

use super::index::Index;
use super::{Actions, Caller, Effect, Pattern, Rule, Who};

/// Something in a policy that is no error and yet probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The line of the file that the rule begins in, from 1.
    pub line: Option<usize>,
    /// The column of that line, in characters, from 1.
    pub column: Option<usize>,
    /// What is doubtful, as a sentence whose subject is the rule.
    pub doubt: String,
}

/// How many pairs of rules are compared: for as long as an operator waits without noticing. Rules that
/// name repositories by their beginnings are compared with few others.
const COMPARED: usize = 1_000_000;

pub(super) fn warnings(rules: &[Rule], index: &Index) -> Vec<Warning> {
    let mixed = rules.iter().any(Rule::favours_the_known);
    let mut warnings = Vec::new();
    let mut left = COMPARED;
    for (number, rule) in (0..).zip(rules) {
        let doubts = [
            unreachable(rules, index, number, rule, &mut left),
            anonymous_write(rule),
            anonymous_probe(rule).filter(|_| mixed),
        ];
        warnings.extend(doubts.into_iter().flatten().map(|doubt| Warning {
            rule: Arc::clone(&rule.name),
            line: rule.line,
            column: rule.column,
            doubt,
        }));
    }
    warnings
}

fn unreachable(
    rules: &[Rule],
    index: &Index,
    number: u32,
    rule: &Rule,
    left: &mut usize,
) -> Option<String> {
    if *left == 0 {
        return None;
    }
    for other_number in index.neighbours(rule.repositories.first()) {
        *left -= 1;
        if *left == 0 {
            return Some(
                "and those after it were not compared with the others: too many begin alike".into(),
            );
        }
        let other = rules.get(other_number as usize)?;
        let decides_first = match (other.effect, rule.effect) {
            (Effect::Deny, Effect::Allow) => true,
            (Effect::Allow, Effect::Deny) => false,
            // Of two rules that say the same, the later one is reported.
            _ => other_number < number || (other_number > number && !rule.covers(other)),
        };
        if other_number != number && decides_first && other.covers(rule) {
            let by = &other.name;
            return Some(if other.effect == rule.effect {
                format!("is redundant: all of it is in {by:?} already")
            } else {
                format!("never allows anything: all of it is denied by {by:?}")
            });
        }
    }
    None
}

fn anonymous_write(rule: &Rule) -> Option<String> {
    let writes = allows_the_anonymous(rule, Actions::PUSH | Actions::DELETE);
    writes.then(|| "lets callers who showed nothing push or delete".into())
}

fn anonymous_probe(rule: &Rule) -> Option<String> {
    allows_the_anonymous(rule, Actions::PROBE).then(|| {
        "answers `/v2/` to the anonymous, after which Docker sends no credentials, but other rules \
         need them"
            .into()
    })
}

fn allows_the_anonymous(rule: &Rule, actions: Actions) -> bool {
    rule.effect == Effect::Allow
        && rule.actions.intersects(actions)
        && rule.who.iter().any(Who::includes_the_anonymous)
}

impl Rule {
    /// Whether it lets callers push something.
    #[cfg(feature = "digest-binding")]
    pub(crate) fn allows_a_push(&self) -> bool {
        self.effect == Effect::Allow && self.actions.intersects(Actions::PUSH)
    }

    /// Whether it is about callers who show who they are.
    pub(super) fn needs_credentials(&self) -> bool {
        self.includes_the_known() && !self.who.contains(&Who::Anyone)
    }

    /// Whether it is about some callers who show who they are.
    pub(super) fn includes_the_known(&self) -> bool {
        self.who.iter().any(|who| *who != Who::Anonymous)
    }

    /// Whether callers who show who they are fare better by it than others.
    pub(super) fn favours_the_known(&self) -> bool {
        match self.effect {
            Effect::Allow => self.needs_credentials(),
            Effect::Deny => {
                let anonymous = self.who.iter().any(Who::includes_the_anonymous);
                let known = |who: &Who| matches!(who, Who::Anyone | Who::Authenticated);
                anonymous && !self.who.iter().any(known)
            }
        }
    }

    /// Whether it is about everybody who shows who they are, wherever they are.
    pub(super) fn covers_the_known(&self) -> bool {
        self.networks.is_empty()
            && self
                .who
                .iter()
                .any(|who| matches!(who, Who::Anyone | Who::Authenticated))
    }

    /// Whether it is about `caller`, whatever they do.
    pub(super) fn is_about_caller(&self, caller: &Caller<'_>) -> bool {
        self.who.iter().any(|who| who.includes(caller.principal)) && self.is_about_network(caller)
    }

    /// Whether surely all that `other` is about, this one is about too.
    fn covers(&self, other: &Self) -> bool {
        let networks = self.networks.is_empty()
            || (!other.networks.is_empty()
                && other
                    .networks
                    .iter()
                    .all(|theirs| self.networks.iter().any(|ours| ours.contains(theirs))));
        let who = |theirs: &Who| self.who.iter().any(|ours| ours.covers(theirs));
        self.actions.contains(other.actions)
            && networks
            && other.who.iter().all(who)
            && self.covers_repositories(other)
            && (self.registries.is_empty() || cover_some(&self.registries, &other.registries))
            && (self.tags.is_empty() || self.tags == other.tags)
            && cover(&self.paths, &other.paths)
    }
}

impl Rule {
    fn covers_repositories(&self, other: &Self) -> bool {
        // An extension without repositories is of every one.
        let of_all = other.repositories.is_empty() && other.actions.intersects(Actions::EXTENSION);
        let ours = &self.repositories;
        let all = ours.is_empty() || ours.iter().any(Pattern::is_universal);
        if of_all {
            all
        } else {
            cover(ours, &other.repositories)
        }
    }
}

fn cover(ours: &[Pattern], theirs: &[Pattern]) -> bool {
    let covered = |theirs: &Pattern| ours.iter().any(|ours| ours.covers(theirs));
    theirs.iter().all(covered)
}

fn cover_some(ours: &[Pattern], theirs: &[Pattern]) -> bool {
    !theirs.is_empty() && cover(ours, theirs)
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line}, column {column}: ")?;
        }
        write!(f, "rule {:?} {}", self.rule, self.doubt)
    }
}
