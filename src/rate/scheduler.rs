use std::collections::{BTreeSet, HashMap};
use std::task::Waker;

use slab::Slab;
use tokio::time::Instant;

use super::clock::{Clock, Line};

/// Who waits at a gate, and who is next.
///
/// Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) on two levels: the tenant whose tag is
/// lowest is served, and of its streams the one whose tag is lowest; what is served moves both tags
/// on by its bytes over the weight. A tenant below its floor goes first.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    tenants: Slab<Tenant>,
    by_key: HashMap<u64, usize>,
    streams: Slab<Stream>,
    ready: BTreeSet<(Tag, usize)>,
    owed: BTreeSet<(Instant, usize)>,
    left: BTreeSet<(Tag, usize)>,
    tag: Tag,
    weights: u64,
    waiting: usize,
    asked: u64,
}

/// Bytes over weight, with [`FRACTION`] bits behind the point.
type Tag = u128;

const FRACTION: u32 = 20;

/// How many of its own turns a tenant or stream may catch up on that it missed while it was sending.
const CATCH_UP: u128 = 2;

/// What a tenant is to a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key: u64,
    pub(super) weight: u32,
    pub(super) floor: u64,
}

/// What may be granted now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) position: u64,
    pub(super) burst: u64,
    /// The largest turn, with as many waiting as there are now.
    pub(super) turn: u64,
    /// The most that one stream is granted together.
    pub(super) most: u64,
    pub(super) now: Instant,
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

#[derive(Debug)]
struct Tenant {
    key: u64,
    weight: u32,
    tag: Tag,
    inner: Tag,
    waiting: BTreeSet<(Tag, usize)>,
    streams: usize,
    asked: u64,
    floor: Option<Floor>,
}

#[derive(Debug)]
struct Floor {
    line: Line,
    clock: Clock,
    burst: u64,
    due: Option<Instant>,
}

#[derive(Debug)]
struct Stream {
    tenant: usize,
    tag: Tag,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    Waiting {
        ask: u64,
        granted: u64,
        waker: Waker,
    },
    Granted(u64),
}

impl Scheduler {
    /// Adds a stream of this tenant.
    pub(super) fn join(&mut self, claim: Claim, now: Instant) -> usize {
        let tenant = match self.by_key.get(&claim.key) {
            Some(&tenant) => tenant,
            None => self.admit(claim),
        };
        self.left.remove(&(self.tenants[tenant].tag, tenant));
        let entry = &mut self.tenants[tenant];
        entry.streams += 1;
        let tag = entry.inner;
        self.claim(tenant, claim, now);
        self.streams.insert(Stream {
            tenant,
            tag,
            state: State::Idle,
        })
    }

    fn admit(&mut self, claim: Claim) -> usize {
        let tenant = self.tenants.insert(Tenant {
            key: claim.key,
            weight: claim.weight,
            tag: self.tag,
            inner: 0,
            waiting: BTreeSet::new(),
            streams: 0,
            asked: 0,
            floor: None,
        });
        self.by_key.insert(claim.key, tenant);
        tenant
    }

    fn claim(&mut self, tenant: usize, claim: Claim, now: Instant) {
        let entry = &mut self.tenants[tenant];
        if entry.weight != claim.weight {
            if !entry.waiting.is_empty() {
                self.weights = self.weights - u64::from(entry.weight) + u64::from(claim.weight);
            }
            entry.weight = claim.weight;
        }
        if entry.floor.as_ref().map_or(0, |floor| floor.line.rate()) != claim.floor {
            if let Some(due) = entry.floor.take().and_then(|floor| floor.due) {
                self.owed.remove(&(due, tenant));
            }
            entry.floor = (claim.floor > 0).then(|| Floor::new(claim.floor, now));
        }
    }

    /// Removes a stream; what it was granted and did not collect is returned.
    pub(super) fn leave(&mut self, stream: usize) -> u64 {
        let granted = self.withdraw(stream);
        let index = self.streams.remove(stream).tenant;
        let tenant = &mut self.tenants[index];
        tenant.streams -= 1;
        if tenant.streams == 0 {
            if tenant.tag > self.tag {
                self.left.insert((tenant.tag, index));
            } else {
                self.forget(index);
            }
        }
        granted
    }

    fn forget(&mut self, tenant: usize) {
        let gone = self.tenants.remove(tenant);
        self.by_key.remove(&gone.key);
        if let Some(due) = gone.floor.and_then(|floor| floor.due) {
            self.owed.remove(&(due, tenant));
        }
    }

    /// Whether no stream is here at all.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// How many streams are here, waiting or not.
    #[cfg(feature = "redis")]
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// How many streams wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many bytes are asked for by those who wait.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// What part of the rate one more stream of this tenant would get, as a fraction: of this many
    /// parts in all, so many.
    pub(super) fn part(&self, claim: Claim) -> (u64, u64) {
        let tenant = self
            .by_key
            .get(&claim.key)
            .map(|&index| &self.tenants[index]);
        let waiting = tenant.map_or(0, |tenant| tenant.waiting.len()) as u64;
        let own = u64::from(claim.weight);
        let all = if waiting > 0 {
            self.weights
        } else {
            self.weights + own
        };
        (own, all.saturating_mul(waiting + 1))
    }

    /// How many bytes of this tenant wait.
    pub(super) fn asked_by(&self, key: u64) -> u64 {
        let tenant = self.by_key.get(&key);
        tenant.map_or(0, |&index| self.tenants[index].asked)
    }

    /// Queues a stream for a turn of `ask` bytes.
    pub(super) fn ask(
        &mut self,
        stream: usize,
        ask: u64,
        claim: Claim,
        waker: Waker,
        now: Instant,
    ) {
        let index = self.streams[stream].tenant;
        self.claim(index, claim, now);
        let entry = &mut self.streams[stream];
        let tenant = &mut self.tenants[index];
        let behind = CATCH_UP * tagged(ask, 1);
        entry.tag = entry.tag.max(tenant.inner.saturating_sub(behind));
        entry.state = State::Waiting {
            ask,
            granted: 0,
            waker,
        };
        if tenant.waiting.is_empty() {
            let behind = CATCH_UP * tagged(ask, tenant.weight);
            tenant.tag = tenant.tag.max(self.tag.saturating_sub(behind));
            self.ready.insert((tenant.tag, index));
            self.weights += u64::from(tenant.weight);
        }
        tenant.waiting.insert((entry.tag, stream));
        tenant.asked += ask;
        self.waiting += 1;
        self.asked += ask;
        self.owe(index, now);
    }

    /// Takes what a stream has been granted, if it has, or renews its waker.
    pub(super) fn collect(&mut self, stream: usize, waker: &Waker) -> Option<u64> {
        let entry = &mut self.streams[stream];
        match &mut entry.state {
            State::Granted(bytes) => {
                let bytes = *bytes;
                entry.state = State::Idle;
                Some(bytes)
            }
            State::Waiting { waker: old, .. } => {
                old.clone_from(waker);
                None
            }
            State::Idle => Some(0),
        }
    }

    /// Takes back a question, or what was granted to it.
    pub(super) fn withdraw(&mut self, stream: usize) -> u64 {
        let state = std::mem::replace(&mut self.streams[stream].state, State::Idle);
        match state {
            State::Idle => 0,
            State::Granted(bytes) => bytes,
            State::Waiting { ask, .. } => {
                self.unqueue(stream, ask);
                0
            }
        }
    }

    /// Grants what is due. `me` is being polled and needs no waking.
    pub(super) fn grant(&mut self, clock: &Clock, due: Due, me: usize, woken: &mut Vec<Waker>) {
        let mut served = Vec::new();
        while let Some((tenant, stream, ask, granted)) = self.first(due) {
            if clock.take(ask, due.position, due.burst).is_err() {
                break;
            }
            self.serve(tenant, stream, ask, due.now);
            if granted == 0 {
                served.push(stream);
            }
            if granted + ask >= due.most {
                self.settle(stream, me, woken);
            }
        }
        for stream in served {
            self.settle(stream, me, woken);
        }
        self.purge();
    }

    /// The stream that is granted next, the position of the line at which that happens, and its
    /// waker.
    pub(super) fn head(&self, clock: &Clock, due: Due) -> Option<(usize, u64, &Waker)> {
        let (_, stream, ask, _) = self.first(due)?;
        let position = clock.spent(due.position, due.burst).wrapping_add(ask);
        match &self.streams[stream].state {
            State::Waiting { waker, .. } => Some((stream, position, waker)),
            _ => None,
        }
    }

    /// Somebody who waits and may look again.
    pub(super) fn any_waker(&self) -> Option<&Waker> {
        let (_, tenant) = self.ready.first()?;
        let (_, stream) = self.tenants[*tenant].waiting.first()?;
        match &self.streams[*stream].state {
            State::Waiting { waker, .. } => Some(waker),
            _ => None,
        }
    }

    /// Notes bytes that a stream took while nobody waited.
    pub(super) fn pass(&mut self, stream: usize, bytes: u64) {
        let entry = &mut self.streams[stream];
        let tenant = &mut self.tenants[entry.tenant];
        let behind = CATCH_UP * tagged(bytes, tenant.weight);
        tenant.tag = tenant.tag.max(self.tag.saturating_sub(behind));
        self.tag = self.tag.max(tenant.tag);
        tenant.tag += tagged(bytes, tenant.weight);
        let behind = CATCH_UP * tagged(bytes, 1);
        entry.tag = entry.tag.max(tenant.inner.saturating_sub(behind));
        tenant.inner = tenant.inner.max(entry.tag);
        entry.tag += tagged(bytes, 1);
    }

    /// Who is next: a tenant that is owed its floor, else the one with the lowest tag; with what it
    /// asks for and what it has been granted so far.
    fn first(&self, due: Due) -> Option<(usize, usize, u64, u64)> {
        let owed = self.owed.first().filter(|(when, _)| *when <= due.now);
        let tenant = match owed {
            Some(&(_, tenant)) => tenant,
            None => self.ready.first()?.1,
        };
        let stream = self.tenants[tenant].waiting.first()?.1;
        match self.streams[stream].state {
            State::Waiting { ask, granted, .. } => {
                Some((tenant, stream, ask.min(due.turn), granted))
            }
            _ => None,
        }
    }

    fn serve(&mut self, index: usize, stream: usize, bytes: u64, now: Instant) {
        let tenant = &mut self.tenants[index];
        let entry = &mut self.streams[stream];
        tenant.waiting.remove(&(entry.tag, stream));
        tenant.inner = tenant.inner.max(entry.tag);
        entry.tag += tagged(bytes, 1);
        tenant.waiting.insert((entry.tag, stream));
        if let State::Waiting { granted, .. } = &mut entry.state {
            *granted += bytes;
        }
        let owed = tenant
            .floor
            .as_ref()
            .is_some_and(|floor| floor.due.is_some_and(|due| due <= now));
        self.ready.remove(&(tenant.tag, index));
        if !owed {
            self.tag = self.tag.max(tenant.tag);
        }
        tenant.tag += tagged(bytes, tenant.weight);
        self.ready.insert((tenant.tag, index));
        if let Some(floor) = &tenant.floor {
            floor
                .clock
                .drain(bytes, floor.line.position(now), floor.burst);
        }
        self.owe(index, now);
    }

    /// Ends the wait of a stream that has been served.
    fn settle(&mut self, stream: usize, me: usize, woken: &mut Vec<Waker>) {
        let state = std::mem::replace(&mut self.streams[stream].state, State::Idle);
        match state {
            State::Waiting {
                ask,
                granted,
                waker,
            } => {
                self.unqueue(stream, ask);
                self.streams[stream].state = State::Granted(granted);
                if stream != me {
                    woken.push(waker);
                }
            }
            other => self.streams[stream].state = other,
        }
    }

    fn unqueue(&mut self, stream: usize, ask: u64) {
        let entry = &self.streams[stream];
        let index = entry.tenant;
        let tenant = &mut self.tenants[index];
        tenant.waiting.remove(&(entry.tag, stream));
        tenant.asked -= ask;
        self.waiting -= 1;
        self.asked -= ask;
        if tenant.waiting.is_empty() {
            self.ready.remove(&(tenant.tag, index));
            self.weights -= u64::from(tenant.weight);
            if let Some(due) = tenant.floor.as_mut().and_then(|floor| floor.due.take()) {
                self.owed.remove(&(due, index));
            }
        }
    }

    /// Notes when a waiting tenant's floor is due.
    fn owe(&mut self, index: usize, now: Instant) {
        let tenant = &mut self.tenants[index];
        let Some(floor) = &mut tenant.floor else {
            return;
        };
        if let Some(due) = floor.due.take() {
            self.owed.remove(&(due, index));
        }
        let Some(&(_, stream)) = tenant.waiting.first() else {
            return;
        };
        if let State::Waiting { ask, .. } = self.streams[stream].state {
            let due = floor.due(ask, now);
            floor.due = Some(due);
            self.owed.insert((due, index));
        }
    }

    /// Forgets tenants that are gone and have nothing to pay back any more.
    fn purge(&mut self) {
        while let Some(&(tag, tenant)) = self.left.first() {
            if tag > self.tag {
                return;
            }
            self.left.remove(&(tag, tenant));
            self.forget(tenant);
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

fn tagged(bytes: u64, weight: u32) -> Tag {
    (Tag::from(bytes) << FRACTION) / Tag::from(weight.max(1))
}
