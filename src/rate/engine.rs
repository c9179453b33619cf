use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::Watched;

#[cfg(feature = "redis")]
use super::Fleet;
use super::clock::{Line, credit};
use super::gate::Terms;
use super::keys::Gates;
use super::lease::Lease;
use super::pacer::{Lane, Meter};
use super::quota::{Calendar, Usage};
use super::scheduler::Claim;
#[cfg(feature = "redis")]
use super::subject::Charged;
use super::subject::Subject;
use super::{Direction, Exempt, Key, Limit, Limits};

/// The limits in force and all that is remembered of their keys, shared by every clone of a service.
#[derive(Debug)]
pub(super) struct Engine {
    limits: Watched<Limits>,
    compiled: ArcSwap<Compiled>,
    building: Mutex<()>,
    pub(super) calendar: Calendar,
}

/// The limits of one generation.
#[derive(Debug)]
pub(super) struct Compiled {
    generation: u64,
    pub(super) limits: Limits,
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) routed: bool,
    pub(super) sheds: bool,
}

/// A limit and its keys. The keys outlive a reload, by the limit's name.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) limit: Limit,
    pub(super) terms: Option<Terms>,
    pub(super) gates: Arc<Gates>,
    pub(super) usage: Option<Arc<Usage>>,
    pub(super) lease: Option<Arc<Lease>>,
    ceilings: HashMap<Box<str>, Ceiling>,
}

/// What a tenant of a share never passes. The default tenants' is under the name `*`.
#[derive(Clone, Debug)]
struct Ceiling {
    terms: Terms,
    gates: Arc<Gates>,
}

impl Engine {
    pub(super) fn new(limits: Watched<Limits>, calendar: Calendar) -> Self {
        let current = limits.load();
        let compiled = Compiled::new(current.generation(), current.clone(), None);
        drop(current);
        Self {
            limits,
            compiled: ArcSwap::from_pointee(compiled),
            building: Mutex::new(()),
            calendar,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.limits.generation()
    }

    /// The limits in force.
    pub(super) fn compiled(&self) -> arc_swap::Guard<Arc<Compiled>> {
        let compiled = self.compiled.load();
        if compiled.generation == self.limits.generation() {
            return compiled;
        }
        drop(compiled);
        self.rebuild();
        self.compiled.load()
    }

    /// How many keys the limit of this name remembers.
    pub(super) fn keys(&self, limit: &str) -> usize {
        let compiled = self.compiled();
        let rule = compiled
            .rules
            .iter()
            .find(|rule| *rule.limit.name == *limit);
        rule.map_or(0, |rule| rule.gates.len())
    }

    fn rebuild(&self) {
        let _building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.compiled.load_full();
        let current = self.limits.load();
        if old.generation < current.generation() {
            let new = Compiled::new(current.generation(), current.clone(), Some(&old));
            self.compiled.store(Arc::new(new));
        }
    }
}

impl Compiled {
    fn new(generation: u64, limits: Limits, old: Option<&Self>) -> Self {
        let now = Instant::now();
        let before = |limit: &Limit| {
            let mut rules = old.iter().flat_map(|old| &old.rules);
            rules.find(|rule| rule.limit.name == limit.name && rule.limit.key == limit.key)
        };
        let mut rules: Vec<_> = limits
            .all
            .iter()
            .map(|limit| Arc::new(Rule::new(limit, limits.max_keys, before(limit), now)))
            .collect();
        // From the narrowest to the widest, so that nothing is taken above that may not be sent
        // below.
        rules.sort_by_key(|rule| std::cmp::Reverse(rank(rule.limit.key)));
        let by_route = |key: Key| matches!(key, Key::Repository | Key::Registry);
        let routed = limits.all.iter().any(|limit| {
            by_route(limit.key) || limit.share.as_ref().is_some_and(|share| by_route(share.by))
        });
        let small = |rule: &Exempt| matches!(rule, Exempt::Small { .. });
        let routed = routed || limits.exempt.iter().any(small);
        let sheds = limits.all.iter().any(|limit| limit.shed.is_some());
        Self {
            generation,
            limits,
            rules,
            routed,
            sheds,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The gates that a body of this direction passes, from the narrowest to the widest.
    pub(super) fn lanes(&self, subject: &Subject, direction: Direction, now: Instant) -> Vec<Lane> {
        let rules = self.counting(subject, direction);
        rules
            .flat_map(|rule| self.lanes_of(rule, subject, now))
            .collect()
    }

    /// The gates of one limit.
    pub(super) fn lanes_of(&self, rule: &Rule, subject: &Subject, now: Instant) -> Vec<Lane> {
        if let Some(lease) = &rule.lease {
            lease.start();
        }
        let Some(terms) = rule.terms() else {
            return Vec::new();
        };
        if rule.limit.key == Key::Stream {
            return vec![Lane::alone(terms, now)];
        }
        let mut lanes = Vec::new();
        for charged in subject.charged(rule.limit.key, &self.limits) {
            let (claim, ceiling) = rule.claim(subject, &self.limits);
            if let Some(Ceiling { terms, gates }) = ceiling {
                lanes.push(Lane::new(gates, claim.key, *terms, claim, now));
            }
            let key = rule.gates.key(charged);
            let lane = Lane::new(&rule.gates, key, terms, claim, now);
            lanes.push(lane.with_lease(rule.lease.clone()));
        }
        lanes
    }

    /// The quotas that a body of this direction is counted in.
    pub(super) fn meters(&self, subject: &Subject, direction: Direction) -> Vec<Meter> {
        let mut meters = Vec::new();
        for rule in self.counting(subject, direction) {
            let (Some(quota), Some(usage)) = (rule.limit.quota, &rule.usage) else {
                continue;
            };
            for charged in subject.charged(rule.limit.key, &self.limits) {
                let key = rule.gates.key(charged);
                meters.push(Meter::new(Arc::clone(usage), key, quota));
            }
        }
        meters
    }

    pub(super) fn counting<'a>(
        &'a self,
        subject: &'a Subject,
        direction: Direction,
    ) -> impl Iterator<Item = &'a Arc<Rule>> {
        self.rules.iter().filter(move |rule| {
            rule.limit.direction.counts(direction) && subject.is_counted_by(&rule.limit)
        })
    }
}

impl Rule {
    fn new(limit: &Limit, keys: usize, old: Option<&Arc<Self>>, now: Instant) -> Self {
        let gates = old.map_or_else(|| Arc::new(Gates::new(keys)), |old| Arc::clone(&old.gates));
        let terms = limit.rate.map(|rate| {
            let old = old.and_then(|old| old.terms);
            terms(rate, limit.burst(), limit.share.is_some(), old, now)
        });
        let usage = limit.quota.map(|_| {
            let old = old.and_then(|old| old.usage.clone());
            old.unwrap_or_else(|| Arc::new(Usage::new(keys)))
        });
        let lease = leased(limit, terms, &gates, old, now);
        let mut ceilings = HashMap::new();
        if let Some(share) = &limit.share {
            let named = share.tenants.iter().map(|(name, tenant)| (&**name, tenant));
            for (name, tenant) in named.chain([("*", &share.default)]) {
                if let Some(rate) = tenant.ceiling {
                    let old = old.and_then(|old| old.ceilings.get(name));
                    ceilings.insert(name.into(), Ceiling::new(rate, keys, old, now));
                }
            }
        }
        Self {
            limit: limit.clone(),
            terms,
            gates,
            usage,
            lease,
            ceilings,
        }
    }

    /// The rate in force.
    pub(super) fn terms(&self) -> Option<Terms> {
        match &self.lease {
            Some(lease) => Some(lease.terms()),
            None => self.terms,
        }
    }

    /// What this subject is to the limit's share, and its ceiling.
    fn claim(&self, subject: &Subject, limits: &Limits) -> (Claim, Option<&Ceiling>) {
        let Some(share) = &self.limit.share else {
            return (Claim::default(), None);
        };
        let tenant = subject.tenant(share.by, limits, |name| share.tenants.contains_key(name));
        // No name needs to be spelt out where no tenant has one.
        let (part, ceiling) = if share.tenants.is_empty() {
            (share.default, self.ceilings.get("*"))
        } else {
            let name = tenant.name();
            let slot = if share.tenants.contains_key(&*name) {
                &*name
            } else {
                "*"
            };
            (share.tenant(&name), self.ceilings.get(slot))
        };
        let claim = Claim {
            key: self.gates.key(tenant),
            weight: part.weight,
            floor: part.floor,
        };
        (claim, ceiling)
    }
}

impl Rule {
    /// What a key may take at once.
    pub(super) fn credit(&self, key: u64, terms: &Terms, now: Instant) -> u64 {
        let position = terms.line.position(now);
        let word = self.gates.word(key);
        word.map_or(terms.burst, |word| credit(word, position, terms.burst))
    }
}

impl Ceiling {
    fn new(rate: u64, keys: usize, old: Option<&Self>, now: Instant) -> Self {
        let gates = old.map_or_else(|| Arc::new(Gates::new(keys)), |old| Arc::clone(&old.gates));
        let limit = Limit::rate("ceiling", Key::Total, rate);
        let old = old.map(|old| old.terms);
        Self {
            terms: terms(rate, limit.burst(), false, old, now),
            gates,
        }
    }
}

/// The lease of a limit that others share; the old one, if it is of the same rate and server.
#[cfg(feature = "redis")]
fn leased(
    limit: &Limit,
    terms: Option<Terms>,
    gates: &Gates,
    old: Option<&Arc<Rule>>,
    now: Instant,
) -> Option<Arc<Lease>> {
    let (fleet, terms) = (limit.fleet.as_ref()?, terms?);
    let old = old.filter(|old| old.limit.fleet.as_ref().map(Fleet::id) == Some(fleet.id()));
    let same = |old: &&Arc<Rule>| {
        old.limit.rate == limit.rate
            && old.limit.burst() == limit.burst()
            && old.limit.share.is_some() == limit.share.is_some()
    };
    if let Some(lease) = old.filter(same).and_then(|old| old.lease.clone()) {
        return Some(lease);
    }
    let sent = old
        .and_then(|old| old.lease.as_ref())
        .map_or(0, |lease| lease.total());
    let key = gates.key(Charged::Total);
    let gate = gates.gate(key, Some(&terms), terms.line.position(now));
    let before = Terms {
        line: terms.line.at_rate((terms.line.rate() / 8).max(1), now),
        ..terms
    };
    let (fleet, limit) = (fleet.clone(), limit.clone());
    let start = move |lease| super::fleet::keep(fleet, &limit, lease);
    Some(Arc::new(Lease::new(before, gate, sent, Box::new(start))))
}

#[cfg(not(feature = "redis"))]
fn leased(
    _: &Limit,
    _: Option<Terms>,
    _: &Gates,
    _: Option<&Arc<Rule>>,
    _: Instant,
) -> Option<Arc<Lease>> {
    None
}

fn terms(rate: u64, burst: u64, shared: bool, old: Option<Terms>, now: Instant) -> Terms {
    let line = match old {
        Some(old) if old.line.rate() == rate => old.line,
        Some(old) => old.line.at_rate(rate, now),
        None => Line::new(rate, now),
    };
    Terms {
        line,
        burst,
        shared,
    }
}

fn rank(key: Key) -> u8 {
    match key {
        Key::Total => 0,
        Key::Registry => 1,
        Key::Group => 2,
        Key::Principal => 3,
        Key::Source => 4,
        Key::Repository => 5,
        Key::Connection => 6,
        Key::Stream => 7,
    }
}
