use std::collections::{BTreeSet, HashMap};
use std::ops::{Index, IndexMut};

use slab::Slab;
use tokio::time::Instant;

use super::clock::{Clock, Line};

/// Those who share a rate, and to whom a floor is owed.
///
/// A tenant outlives its streams until it has paid for what they took ahead of the others.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    entries: Slab<Tenant>,
    by_key: HashMap<u64, usize>,
    owed: BTreeSet<(Instant, usize)>,
    left: BTreeSet<(Tag, usize)>,
}

/// Bytes over weight, with [`FRACTION`] bits behind the point.
pub(super) type Tag = u128;

const FRACTION: u32 = 20;

/// What a tenant is to a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key: u64,
    pub(super) weight: u32,
    pub(super) floor: u64,
}

#[derive(Debug)]
pub(super) struct Tenant {
    key: u64,
    pub(super) weight: u32,
    pub(super) tag: Tag,
    /// The tag of the stream that was served last.
    pub(super) inner: Tag,
    pub(super) waiting: BTreeSet<(Tag, usize)>,
    /// How many bytes those that wait ask for.
    pub(super) asked: u64,
    streams: usize,
    floor: Option<Floor>,
}

/// What a tenant is served before the others, if it asks for it.
#[derive(Debug)]
struct Floor {
    line: Line,
    clock: Clock,
    burst: u64,
    due: Option<Instant>,
}

impl Default for Claim {
    fn default() -> Self {
        Self {
            key: 0,
            weight: 1,
            floor: 0,
        }
    }
}

impl Tenants {
    pub(super) fn of(&self, key: u64) -> Option<&Tenant> {
        self.by_key.get(&key).map(|&index| &self.entries[index])
    }

    /// One more stream of a tenant, whose tag is `tag` if it is new.
    pub(super) fn join(&mut self, claim: Claim, tag: Tag) -> usize {
        let index = match self.by_key.get(&claim.key) {
            Some(&index) => index,
            None => self.admit(claim, tag),
        };
        let tenant = &mut self.entries[index];
        self.left.remove(&(tenant.tag, index));
        tenant.streams += 1;
        index
    }

    fn admit(&mut self, claim: Claim, tag: Tag) -> usize {
        let index = self.entries.insert(Tenant {
            key: claim.key,
            weight: claim.weight,
            tag,
            inner: 0,
            waiting: BTreeSet::new(),
            asked: 0,
            streams: 0,
            floor: None,
        });
        self.by_key.insert(claim.key, index);
        index
    }

    /// Sets what a tenant is entitled to.
    pub(super) fn claim(&mut self, index: usize, claim: Claim, now: Instant) {
        let tenant = &mut self.entries[index];
        tenant.weight = claim.weight;
        let floor = tenant.floor.as_ref().map_or(0, |floor| floor.line.rate());
        if floor != claim.floor {
            self.owe_nothing(index);
            let floor = (claim.floor > 0).then(|| Floor::new(claim.floor, now));
            self.entries[index].floor = floor;
        }
    }

    /// One stream less.
    pub(super) fn leave(&mut self, index: usize, served: Tag) {
        let tenant = &mut self.entries[index];
        tenant.streams -= 1;
        if tenant.streams > 0 {
            return;
        }
        if tenant.tag > served {
            self.left.insert((tenant.tag, index));
        } else {
            self.forget(index);
        }
    }

    /// Forgets tenants that are gone and have nothing to pay back any more.
    pub(super) fn purge(&mut self, served: Tag) {
        while let Some(&(tag, index)) = self.left.first() {
            if tag > served {
                return;
            }
            self.left.remove(&(tag, index));
            self.forget(index);
        }
    }

    fn forget(&mut self, index: usize) {
        self.owe_nothing(index);
        let gone = self.entries.remove(index);
        self.by_key.remove(&gone.key);
    }

    /// A tenant whose floor is due.
    pub(super) fn owed(&self, now: Instant) -> Option<usize> {
        let first = self.owed.first().filter(|(due, _)| *due <= now);
        first.map(|&(_, index)| index)
    }

    /// Notes when the floor of a tenant is due, whose next stream asks for so much.
    pub(super) fn owe(&mut self, index: usize, ask: Option<u64>, now: Instant) {
        self.owe_nothing(index);
        let floor = self.entries[index].floor.as_mut();
        if let (Some(floor), Some(ask)) = (floor, ask) {
            let due = floor.due(ask, now);
            floor.due = Some(due);
            self.owed.insert((due, index));
        }
    }

    pub(super) fn owe_nothing(&mut self, index: usize) {
        let floor = self.entries[index].floor.as_mut();
        if let Some(due) = floor.and_then(|floor| floor.due.take()) {
            self.owed.remove(&(due, index));
        }
    }
}

impl Index<usize> for Tenants {
    type Output = Tenant;

    fn index(&self, index: usize) -> &Tenant {
        &self.entries[index]
    }
}

impl IndexMut<usize> for Tenants {
    fn index_mut(&mut self, index: usize) -> &mut Tenant {
        &mut self.entries[index]
    }
}

impl Tenant {
    pub(super) fn is_owed(&self, now: Instant) -> bool {
        let due = self.floor.as_ref().and_then(|floor| floor.due);
        due.is_some_and(|due| due <= now)
    }

    /// Counts what was served as part of the floor.
    pub(super) fn drain_floor(&self, bytes: u64, now: Instant) {
        if let Some(floor) = &self.floor {
            let position = floor.line.position(now);
            floor.clock.drain(bytes, position, floor.burst);
        }
    }
}

impl Floor {
    fn new(rate: u64, now: Instant) -> Self {
        let burst = (rate / 20).max(1);
        let line = Line::new(rate, now);
        Self {
            line,
            clock: Clock::new(line.position(now), burst),
            burst,
            due: None,
        }
    }

    fn due(&self, ask: u64, now: Instant) -> Instant {
        let position = self.line.position(now);
        let ask = ask.min(self.burst);
        let spent = self.clock.spent(position, self.burst);
        self.line.when(spent.wrapping_add(ask), now)
    }
}

pub(super) fn tagged(bytes: u64, weight: u32) -> Tag {
    (Tag::from(bytes) << FRACTION) / Tag::from(weight.max(1))
}
