use super::access::{Access, Target};
use super::hash::Map;
use super::keyed::{Keyed, prefixes};
use super::{Actions, Effect, Rule};
use crate::Principal;

/// Finds the few rules that can be about an access: by the leading segments of their repositories, then by the
/// callers that they name.
#[derive(Debug, Default)]
pub(super) struct Index {
    repositories: Map<Box<str>, Bucket>,
    /// Rules about what has no repository.
    general: Bucket,
    allows: Bucket,
    /// Rules that can be about a mount from an unnamed repository.
    anywhere: Bucket,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    rules: Vec<u32>,
    keyed: Option<Box<Keyed>>,
}

/// Up to here looking at each rule is cheaper than hashing the caller's names.
const SCANNED: usize = 12;

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in (0..).zip(rules) {
            for pattern in &rule.repositories {
                let bucket = index
                    .repositories
                    .entry(pattern.prefix().into())
                    .or_default();
                bucket.push(number);
            }
            let general = Actions::PROBE | Actions::CATALOG | Actions::EXTENSION | Actions::OTHER;
            if rule.actions.intersects(general) {
                index.general.push(number);
            }
            let everywhere = rule.repositories.iter().any(super::Pattern::is_universal);
            if rule.actions.intersects(Actions::PULL) && (rule.effect == Effect::Deny || everywhere)
            {
                index.anywhere.push(number);
            }
            if rule.effect == Effect::Allow {
                index.allows.push(number);
            }
        }
        let buckets = index.repositories.values_mut();
        for bucket in buckets.chain([&mut index.general, &mut index.allows, &mut index.anywhere]) {
            bucket.key(rules);
        }
        index
    }

    /// Tells `visit` every rule that can be about `access` by `principal`, some of them twice.
    pub(super) fn candidates(
        &self,
        access: &Access<'_>,
        principal: Option<&Principal>,
        mut visit: impl FnMut(u32),
    ) {
        match access.target {
            _ if !access.action.on_paths().is_empty() => self.general.visit(principal, &mut visit),
            Target::Registry => self.general.visit(principal, &mut visit),
            Target::AnyRepository => self.anywhere.visit(principal, &mut visit),
            Target::Repository(name) => {
                for prefix in [""].into_iter().chain(prefixes(name)) {
                    if let Some(bucket) = self.repositories.get(prefix) {
                        bucket.visit(principal, &mut visit);
                    }
                }
            }
        }
    }

    /// Tells `visit` every rule that allows something and can be about `principal`.
    pub(super) fn allows(&self, principal: Option<&Principal>, mut visit: impl FnMut(u32)) {
        self.allows.visit(principal, &mut visit);
    }

    /// The rules whose repositories begin as `pattern`'s do; without one, those about what has no
    /// repository.
    pub(super) fn neighbours(&self, pattern: Option<&super::Pattern>) -> impl Iterator<Item = u32> {
        let prefix = pattern.map(super::Pattern::prefix);
        let prefixes = prefix.into_iter().flat_map(|prefix| {
            let empty = (!prefix.is_empty()).then_some("");
            empty.into_iter().chain(prefixes(prefix))
        });
        let buckets = prefixes.filter_map(|prefix| self.repositories.get(prefix));
        let general = prefix.is_none().then_some(&self.general);
        let buckets = general.into_iter().chain(buckets);
        buckets.flat_map(|bucket| bucket.rules.iter().copied())
    }
}

impl Bucket {
    fn push(&mut self, rule: u32) {
        if self.rules.last() != Some(&rule) {
            self.rules.push(rule);
        }
    }

    fn key(&mut self, rules: &[Rule]) {
        if self.rules.len() > SCANNED {
            self.keyed = Some(Box::new(Keyed::new(rules, &self.rules)));
        }
    }

    fn visit(&self, principal: Option<&Principal>, visit: &mut impl FnMut(u32)) {
        match &self.keyed {
            Some(keyed) => keyed.visit(principal, visit),
            None => self.rules.iter().copied().for_each(visit),
        }
    }
}
