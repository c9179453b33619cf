use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::key_limiters::KeyLimiters;
use super::lease::Lease;
use super::meter::{Ledger, Meter};
use super::parameters::Parameters;
use super::quota::Calendar;
use super::schedule::Schedule;
#[cfg(feature = "redis")]
use super::starter::Starter;
use super::subject::{Charged, Subject};
use super::tenants::Claim;
use super::{Key, Limit, Limits};
use crate::telemetry::limit_meters::LimitMeters;
use crate::util::gcra::credit;

/// A limit and its keys. The keys outlive a reload, by the limit's name.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) limit: Limit,
    pub(super) parameters: Option<Parameters>,
    // By which the limiters' cells stand while there is no rate.
    past: Option<Parameters>,
    pub(super) limiters: Arc<KeyLimiters>,
    pub(super) ledger: Option<Ledger>,
    pub(super) lease: Option<Arc<Lease>>,
    pub(super) meters: Arc<LimitMeters>,
    ceilings: HashMap<Box<str>, Ceiling>,
    // What the named tenants' floors leave for the others'.
    pool: u64,
    // What `KeyLimiters::key` gives for the one key of a total.
    total: u64,
}

/// What a tenant of a share never passes. The default tenants' is under the name `*`.
#[derive(Clone, Debug)]
pub(super) struct Ceiling {
    pub(super) parameters: Parameters,
    pub(super) limiters: Arc<KeyLimiters>,
}

impl Rule {
    pub(super) fn new(
        limit: &Limit,
        keys: usize,
        old: Option<&Arc<Self>>,
        calendar: &Calendar,
        now: Instant,
    ) -> Self {
        let limit = &in_place_of(limit, old);
        let limiters = old.map_or_else(
            || Arc::new(KeyLimiters::new(keys)),
            |old| old.limiters.with_room(keys),
        );
        let past = old.and_then(|old| old.parameters_of_cells());
        let parameters = limit
            .rate
            .map(|rate| parameters(rate, limit.burst(), limit.share.is_some(), past, now));
        let ledger = limit.quota.map(|quota| {
            let old = old.and_then(|old| old.ledger.as_ref());
            Ledger::new(limit, quota, keys, old, calendar)
        });
        let lease = leased(limit, parameters, &limiters, old, now);
        let (mut ceilings, mut pool) = (HashMap::new(), 0);
        if let Some(share) = &limit.share {
            pool = share.left_by_named(limit.rate.unwrap_or(0));
            let named = share.tenants.iter().map(|(name, tenant)| (&**name, tenant));
            for (name, tenant) in named.chain([("*", &share.default)]) {
                if let Some(rate) = tenant.ceiling {
                    let old = old.and_then(|old| old.ceilings.get(name));
                    ceilings.insert(name.into(), Ceiling::new(rate, keys, old, now));
                }
            }
        }
        let counted = old.map_or_else(
            || Arc::new(LimitMeters::new(Arc::clone(&limit.name))),
            |old| Arc::clone(&old.meters),
        );
        Self {
            limit: limit.clone(),
            parameters,
            past,
            total: limiters.key(Charged::Total),
            limiters,
            ledger,
            lease,
            meters: counted,
            ceilings,
            pool,
        }
    }

    /// The short form of what is charged.
    pub(super) fn key(&self, charged: &Charged<'_>) -> u64 {
        match charged {
            Charged::Total => self.total,
            charged => self.limiters.key(charged),
        }
    }

    pub(super) fn take(&self, charged: &Charged<'_>, bytes: u64, now: Instant) -> bool {
        let Some(parameters) = &self.parameters else {
            return true;
        };
        if self.lease.is_some() || !self.ceilings.is_empty() || self.limit.key == Key::Stream {
            return false;
        }
        let position = parameters.schedule.position(now);
        self.limiters
            .take(self.key(charged), bytes, position, parameters.burst)
            .is_ok()
    }

    pub(super) fn give_back(&self, charged: &Charged<'_>, bytes: u64) {
        self.limiters.give_back(self.key(charged), bytes);
    }

    /// The active rate.
    pub(super) fn parameters(&self) -> Option<Parameters> {
        match &self.lease {
            Some(lease) => Some(lease.parameters()),
            None => self.parameters,
        }
    }

    /// What the cells of the limiters stand by, whether there is a rate now or not.
    pub(super) fn parameters_of_cells(&self) -> Option<Parameters> {
        self.parameters().or(self.past)
    }

    /// What this subject is to the limit's share, and its ceiling.
    pub(super) fn claim(&self, subject: &Subject, limits: &Limits) -> (Claim, Option<&Ceiling>) {
        let Some(share) = &self.limit.share else {
            return (Claim::default(), None);
        };
        let tenant = subject.tenant(share.by, limits, |name| share.tenants.contains_key(name));
        // No name needs to be spelt out where no tenant has one.
        let (part, ceiling, is_named) = if share.tenants.is_empty() {
            (share.default, self.ceilings.get("*"), false)
        } else {
            let name = tenant.name();
            match share.tenants.get(&*name) {
                Some(part) => (*part, self.ceilings.get(&*name), true),
                None => (share.default, self.ceilings.get("*"), false),
            }
        };
        let claim = Claim {
            key: self.limiters.key(tenant),
            weight: part.weight,
            floor: part.floor,
            pool: (!is_named).then_some(self.pool),
        };
        (claim, ceiling)
    }
}

impl Rule {
    /// The meters of this limit's quota.
    pub(super) fn meters(&self, subject: &Subject, limits: &Limits) -> Vec<Meter> {
        let (Some(quota), Some(ledger)) = (self.limit.quota, &self.ledger) else {
            return Vec::new();
        };
        let charged = subject.charged(self.limit.key, limits);
        let counts = &self.meters;
        let meter = |charged| ledger.meter(quota, self.key(&charged), &charged, counts);
        charged.map(meter).collect()
    }

    /// What a key may take at once.
    pub(super) fn credit(&self, key: u64, parameters: &Parameters, now: Instant) -> u64 {
        let position = parameters.schedule.position(now);
        let word = self.limiters.word(key);
        word.map_or(parameters.burst, |word| {
            credit(word, position, parameters.burst)
        })
    }
}

impl Ceiling {
    fn new(rate: u64, keys: usize, old: Option<&Self>, now: Instant) -> Self {
        let limiters = old.map_or_else(
            || Arc::new(KeyLimiters::new(keys)),
            |old| old.limiters.with_room(keys),
        );
        let limit = Limit::rate("ceiling", Key::Total, rate);
        let old = old.map(|old| old.parameters);
        Self {
            parameters: parameters(rate, limit.burst(), false, old, now),
            limiters,
        }
    }
}

/// The limit, by the same replica as before if its fleet keeps the same books.
#[cfg(feature = "redis")]
fn in_place_of(limit: &Limit, old: Option<&Arc<Rule>>) -> Limit {
    let mut limit = limit.clone();
    if let Some(old) = old.and_then(|old| old.limit.fleet.as_ref()) {
        limit.fleet = limit.fleet.map(|fleet| fleet.in_place_of(old));
    }
    limit
}

#[cfg(not(feature = "redis"))]
fn in_place_of(limit: &Limit, _: Option<&Arc<Rule>>) -> Limit {
    limit.clone()
}

/// The lease of a limit that others share; the old one, if it is of the same rate and server.
#[cfg(feature = "redis")]
fn leased(
    limit: &Limit,
    parameters: Option<Parameters>,
    limiters: &KeyLimiters,
    old: Option<&Arc<Rule>>,
    now: Instant,
) -> Option<Arc<Lease>> {
    let (fleet, parameters) = (limit.fleet.as_ref()?, parameters?);
    let books = |old: &&Arc<Rule>| {
        old.limit
            .fleet
            .as_ref()
            .is_some_and(|old| fleet.has_books_of(old))
    };
    let old = old.filter(books);
    let same = |old: &&Arc<Rule>| {
        old.limit.rate == limit.rate
            && old.limit.burst() == limit.burst()
            && old.limit.share.is_some() == limit.share.is_some()
    };
    let old = old.and_then(|rule| Some((rule, rule.lease.as_ref()?)));
    let sent = old.map_or_else(Arc::default, |(_, lease)| lease.total());
    let mut part = None;
    if let Some((rule, lease)) = old.filter(|(rule, _)| same(rule)) {
        if rule.limit.fleet.as_ref().is_some_and(|old| fleet.is(old)) {
            return Some(Arc::clone(lease));
        }
        part = Some(lease.parameters());
    }
    let key = limiters.key(Charged::Total);
    let limiter = limiters.limiter(key, Some(&parameters), parameters.schedule.position(now));
    let before = Parameters {
        schedule: parameters
            .schedule
            .at_rate((parameters.schedule.rate() / 8).max(1), now),
        ..parameters
    };
    let before = part.unwrap_or(before);
    let (fleet, limit) = (fleet.clone(), limit.clone());
    let start = move |lease| super::fleet::keep(fleet, &limit, lease);
    let starter = Starter::new(start);
    Some(Arc::new(Lease::new(before, limiter, sent, starter)))
}

#[cfg(not(feature = "redis"))]
fn leased(
    _: &Limit,
    _: Option<Parameters>,
    _: &KeyLimiters,
    _: Option<&Arc<Rule>>,
    _: Instant,
) -> Option<Arc<Lease>> {
    None
}

fn parameters(
    rate: u64,
    burst: u64,
    shared: bool,
    old: Option<Parameters>,
    now: Instant,
) -> Parameters {
    let schedule = match old {
        Some(old) if old.schedule.rate() == rate => old.schedule,
        Some(old) => old.schedule.at_rate(rate, now),
        None => Schedule::new(rate, now),
    };
    Parameters {
        schedule,
        burst,
        shared,
    }
}

/// How wide a limit by this key is, the widest first.
pub(super) fn rank(key: Key) -> u8 {
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
