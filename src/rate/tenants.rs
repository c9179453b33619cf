use std::collections::{BTreeSet, HashMap};
use std::ops::{Index, IndexMut};

use slab::Slab;
use tokio::time::Instant;

use super::gcra_cell::GcraCell;
use super::schedule::Schedule;

/// The tenants that share a rate, and those to which a floor is owed.
///
/// A tenant outlives its streams until it has paid for what they took ahead of the others.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    entries: Slab<Tenant>,
    by_key: HashMap<u64, usize>,
    owed: BTreeSet<(Instant, usize)>,
    /// Those that have the default floor, of which there may be any number.
    owed_by_default: BTreeSet<(Instant, usize)>,
    /// What the default floors may take together.
    pool: Option<Floor>,
    left: BTreeSet<(Tag, usize)>,
}

/// How many tenants are remembered that are gone. Each is a quantum or two ahead of the others.
const MOST_LEFT: usize = 1024;

/// Bytes over weight, with [`FRACTION`] bits behind the point.
pub(super) type Tag = u128;

const FRACTION: u32 = 20;

/// What a tenant is to a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key: u64,
    pub(super) weight: u32,
    pub(super) floor: u64,
    /// If the floor is the default one, what all such floors may take together.
    pub(super) pool: Option<u64>,
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
    schedule: Schedule,
    cell: GcraCell,
    burst: u64,
    is_default: bool,
    due: Option<Instant>,
}

impl Default for Claim {
    fn default() -> Self {
        Self {
            key: 0,
            weight: 1,
            floor: 0,
            pool: None,
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
        let floor = tenant.floor.as_ref();
        let before = floor.map_or((0, false), |floor| {
            (floor.schedule.rate(), floor.is_default)
        });
        let is_default = claim.pool.is_some() && claim.floor > 0;
        if before != (claim.floor, is_default) {
            self.owe_nothing(index);
            let floor = (claim.floor > 0).then(|| Floor::new(claim.floor, is_default, now));
            self.entries[index].floor = floor;
        }
        if let Some(rate) = claim.pool.filter(|_| is_default)
            && self
                .pool
                .as_ref()
                .is_none_or(|pool| pool.schedule.rate() != rate)
        {
            self.pool = Some(Floor::new(rate, true, now));
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

    /// The tag of the first tenant to be forgotten, if too many are remembered.
    pub(super) fn crowded(&self) -> Option<Tag> {
        let first = self.left.first().map(|&(tag, _)| tag);
        first.filter(|_| self.left.len() > MOST_LEFT)
    }

    fn forget(&mut self, index: usize) {
        self.owe_nothing(index);
        let gone = self.entries.remove(index);
        self.by_key.remove(&gone.key);
    }

    /// A tenant whose floor is due: one that is named, else one with the default floor, as far as
    /// the named leave so much.
    pub(super) fn owed(&self, now: Instant) -> Option<usize> {
        let first = |owed: &BTreeSet<(Instant, usize)>| {
            let first = owed.first().filter(|(due, _)| *due <= now);
            first.map(|&(_, index)| index)
        };
        first(&self.owed).or_else(|| {
            let pool = self.pool.as_ref()?;
            first(&self.owed_by_default).filter(|_| pool.has_credit(now))
        })
    }

    /// Counts what was served to a tenant as part of its floor, and what it was owed as part of
    /// what such floors may take.
    pub(super) fn serve_floor(&self, index: usize, bytes: u64, owed: bool, now: Instant) {
        let Some(floor) = &self.entries[index].floor else {
            return;
        };
        floor.charge(bytes, now);
        if let Some(pool) = self.pool.as_ref().filter(|_| owed && floor.is_default) {
            pool.charge(bytes, now);
        }
    }

    /// Notes when the floor of a tenant is due, whose next stream asks for so much.
    pub(super) fn owe(&mut self, index: usize, ask: Option<u64>, now: Instant) {
        self.owe_nothing(index);
        let floor = self.entries[index].floor.as_mut();
        if let (Some(floor), Some(ask)) = (floor, ask) {
            let due = floor.due(ask, now);
            floor.due = Some(due);
            let owed = if floor.is_default {
                &mut self.owed_by_default
            } else {
                &mut self.owed
            };
            owed.insert((due, index));
        }
    }

    pub(super) fn owe_nothing(&mut self, index: usize) {
        let floor = self.entries[index].floor.as_mut();
        if let Some(due) = floor.and_then(|floor| floor.due.take()) {
            self.owed.remove(&(due, index));
            self.owed_by_default.remove(&(due, index));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
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

impl Floor {
    fn new(rate: u64, is_default: bool, now: Instant) -> Self {
        let burst = (rate / 20).max(1);
        let schedule = Schedule::new(rate, now);
        Self {
            schedule,
            cell: GcraCell::new(schedule.position(now), burst),
            burst,
            is_default,
            due: None,
        }
    }

    fn has_credit(&self, now: Instant) -> bool {
        let position = self.schedule.position(now);
        self.schedule.rate() > 0 && self.cell.credit(position, self.burst) > 0
    }

    /// A quantum may be more than the burst: the rest is owed. What was owed before a quantum is not,
    /// because that quantum was no part of the floor.
    fn charge(&self, bytes: u64, now: Instant) {
        let position = self.schedule.position(now);
        self.cell.charge(bytes, position, self.burst);
    }

    fn due(&self, ask: u64, now: Instant) -> Instant {
        let position = self.schedule.position(now);
        // Above half of the burst, what comes while a timer is late would be lost.
        let ask = ask.min(self.burst / 2).max(1);
        let spent = self.cell.spent(position, self.burst);
        self.schedule.when(spent.wrapping_add(ask), now)
    }
}

pub(super) fn tagged(bytes: u64, weight: u32) -> Tag {
    (Tag::from(bytes) << FRACTION) / Tag::from(weight.max(1))
}
