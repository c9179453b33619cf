use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::Watched;
use crate::telemetry::limit_meters::TransferInFlight;

use super::handle::Handle;
#[cfg(feature = "redis")]
use super::meter::Ledger;
use super::meter::Meter;
use super::options::Exempt;
use super::quota::Calendar;
use super::rule::{Ceiling, Rule, rank};
use super::subject::{Charged, Subject};
use super::watcher::Watcher;
use super::{Direction, Key, Limit, Limits};

/// The active limits and all that is remembered of their keys, shared by every clone of a service.
#[derive(Debug)]
pub(super) struct Engine {
    limits: Watched<Limits>,
    compiled: ArcSwap<Compiled>,
    building: Mutex<()>,
    pub(super) calendar: Calendar,
    pub(super) watcher: Arc<Watcher>,
}

/// The limits of one generation.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what no limit has is asked of none, and each is asked on its own"
)]
pub(super) struct Compiled {
    generation: u64,
    pub(super) limits: Limits,
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) routed: bool,
    pub(super) sheds: bool,
    /// Whether any limit has to be asked before a request begins, whether it has a quota or a lease.
    pub(super) asks: bool,
    /// Whether any limit has a cap on streams.
    pub(super) caps: bool,
}

impl Engine {
    pub(super) fn new(limits: Watched<Limits>, calendar: Calendar) -> Self {
        let current = limits.load();
        let compiled = Compiled::new(current.generation(), current.clone(), None, &calendar);
        drop(current);
        Self {
            limits,
            compiled: ArcSwap::from_pointee(compiled),
            building: Mutex::new(()),
            calendar,
            watcher: Arc::default(),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.limits.generation()
    }

    /// Returns the active limits.
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
        rule.map_or(0, |rule| rule.limiters.len())
    }

    /// Reports to the servers of fleets what was sent last.
    #[cfg(feature = "redis")]
    pub(super) async fn flush(&self) {
        let compiled = arc_swap::Guard::into_inner(self.compiled());
        for rule in &compiled.rules {
            if let Some(lease) = &rule.lease {
                lease.flush().await;
            }
            if let Some(Ledger::Fleet(accounts)) = &rule.ledger {
                accounts.flush().await;
            }
        }
    }

    fn rebuild(&self) {
        let _building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.compiled.load_full();
        let current = self.limits.load();
        if old.generation < current.generation() {
            let limits = current.clone();
            let new = Compiled::new(current.generation(), limits, Some(&old), &self.calendar);
            self.compiled.store(Arc::new(new));
        }
    }
}

impl Compiled {
    fn new(generation: u64, limits: Limits, old: Option<&Self>, calendar: &Calendar) -> Self {
        let now = Instant::now();
        let before = |limit: &Limit| {
            let mut rules = old.iter().flat_map(|old| &old.rules);
            rules.find(|rule| rule.limit.name == limit.name && rule.limit.key == limit.key)
        };
        let mut rules: Vec<_> = limits
            .all
            .iter()
            .map(|limit| {
                let old = before(limit);
                Arc::new(Rule::new(limit, limits.max_keys, old, calendar, now))
            })
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
        let any = |has: fn(&Limit) -> bool| limits.all.iter().any(has);
        Self {
            generation,
            routed,
            sheds: any(Limit::sheds),
            asks: rules
                .iter()
                .any(|rule| rule.ledger.is_some() || rule.lease.is_some()),
            caps: any(|limit| limit.max_streams.is_some()),
            limits,
            rules,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The limiters that a body of this direction passes, from the narrowest to the widest.
    pub(super) fn handles(
        &self,
        subject: &Subject,
        direction: Direction,
        now: Instant,
    ) -> Vec<Handle> {
        let mut handles = Vec::with_capacity(self.rules.len());
        for rule in self.counting(subject, direction) {
            self.add_handles_of(rule, subject, now, &mut handles);
        }
        handles
    }

    /// The limiters of one limit.
    pub(super) fn handles_of(&self, rule: &Rule, subject: &Subject, now: Instant) -> Vec<Handle> {
        let mut handles = Vec::new();
        self.add_handles_of(rule, subject, now, &mut handles);
        handles
    }

    fn add_handles_of(
        &self,
        rule: &Rule,
        subject: &Subject,
        now: Instant,
        handles: &mut Vec<Handle>,
    ) {
        if let Some(lease) = &rule.lease {
            lease.start();
        }
        let Some(parameters) = rule.parameters() else {
            return;
        };
        if rule.limit.key == Key::Stream {
            handles.push(Handle::alone(parameters, &rule.meters, now));
            return;
        }
        for charged in subject.charged(rule.limit.key, &self.limits) {
            let (claim, ceiling) = rule.claim(subject, &self.limits);
            if let Some(Ceiling {
                parameters,
                limiters,
            }) = ceiling
            {
                handles.push(Handle::new(
                    limiters,
                    claim.key,
                    *parameters,
                    claim,
                    &rule.meters,
                    now,
                ));
            }
            let key = rule.key(&charged);
            let handle = Handle::new(&rule.limiters, key, parameters, claim, &rule.meters, now);
            handles.push(handle.with_lease(rule.lease.clone()));
        }
    }

    /// Takes `bytes` of every limit at once, all or none, if no stream waits at any of them and none is of a
    /// kind that has to know of each stream.
    pub(super) fn take(
        &self,
        subject: &Subject,
        direction: Direction,
        bytes: u64,
        now: Instant,
    ) -> bool {
        let mut taken = 0_usize;
        let all = self.charge(subject, direction, |rule, charged| {
            let is_taken = rule.take(charged, bytes, now);
            taken += usize::from(is_taken);
            is_taken
        });
        if !all {
            self.charge(subject, direction, |rule, charged| {
                let is_given = taken > 0;
                if is_given {
                    rule.give_back(charged, bytes);
                    taken -= 1;
                }
                is_given
            });
        }
        all
    }

    /// Gives back what was taken of every limit at once.
    pub(super) fn give_back(&self, subject: &Subject, direction: Direction, bytes: u64) {
        self.charge(subject, direction, |rule, charged| {
            rule.give_back(charged, bytes);
            true
        });
    }

    /// Shows each limit on a body's rate with what of it the body is charged to, until one says no; returns whether
    /// none did.
    fn charge(
        &self,
        subject: &Subject,
        direction: Direction,
        mut charge: impl FnMut(&Rule, &Charged<'_>) -> bool,
    ) -> bool {
        let mut counting = self.counting(subject, direction);
        counting.all(|rule| {
            if rule.parameters.is_none() {
                return true;
            }
            // A stream's own limit is charged to nothing that others are charged to.
            if rule.limit.key == Key::Stream {
                return charge(rule, &Charged::Unknown);
            }
            let mut charged = subject.charged(rule.limit.key, &self.limits);
            charged.all(|charged| charge(rule, &charged))
        })
    }

    /// The quotas that a body of this direction is counted in.
    pub(super) fn meters(&self, subject: &Subject, direction: Direction) -> Vec<Meter> {
        let mut meters = Vec::new();
        if !self.asks {
            return meters;
        }
        for rule in self.counting(subject, direction) {
            meters.extend(rule.meters(subject, &self.limits));
        }
        meters
    }

    /// Counts a body as in flight with each limit that counts it.
    pub(super) fn in_flight(
        &self,
        subject: &Subject,
        direction: Direction,
    ) -> Vec<TransferInFlight> {
        let counting = self.counting(subject, direction);
        counting.filter_map(|rule| rule.meters.begin()).collect()
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
