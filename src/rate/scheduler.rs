use std::collections::BTreeSet;
use std::task::Waker;

use slab::Slab;
use tokio::time::Instant;

use super::gcra_cell::GcraCell;
use super::tenants::{Claim, Tag, Tenants, tagged};

/// Who waits at a limiter, and who is next.
///
/// Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) on two levels: the tenant whose tag is
/// lowest is served, and of its streams the one whose tag is lowest; what is served moves both tags
/// on by its bytes over the weight. A tenant below its floor goes first.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    tenants: Tenants,
    streams: Slab<Stream>,
    ready: BTreeSet<(Tag, usize)>,
    tag: Tag,
    weights: u64,
    waiting: usize,
    asked: u64,
    roused: usize,
    // Used by each grant anew.
    served: Vec<usize>,
}

/// How many of its own quanta a tenant or stream may catch up on that it missed while it was sending.
const CATCH_UP: u128 = 2;

/// What may be granted now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) position: u64,
    pub(super) burst: u64,
    /// The largest quantum, with as many waiting as there are now.
    pub(super) quantum: u64,
    /// The most that one stream is granted together.
    pub(super) most: u64,
    /// What is let pass at one waking, if so much is asked for.
    pub(super) together: u64,
    pub(super) now: Instant,
}

/// Who is served next.
struct Next {
    tenant: usize,
    stream: usize,
    /// What it asks for, a quantum at most.
    ask: u64,
    granted: u64,
    /// Whether it is for the tenant's floor.
    owed: bool,
}

#[derive(Debug)]
struct Stream {
    tenant: usize,
    tag: Tag,
    state: StreamState,
}

#[derive(Debug)]
enum StreamState {
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
        let tenant = self.tenants.join(claim, self.tag);
        self.claim(tenant, claim, now);
        let tag = self.tenants[tenant].inner;
        self.streams.insert(Stream {
            tenant,
            tag,
            state: StreamState::Idle,
        })
    }

    fn claim(&mut self, index: usize, claim: Claim, now: Instant) {
        let tenant = &mut self.tenants[index];
        let before = tenant.weight;
        if before != claim.weight {
            // It is ahead by as many bytes as before.
            let ahead = tenant.tag.saturating_sub(self.tag);
            let scaled = ahead * Tag::from(before) / Tag::from(claim.weight.max(1));
            let tag = tenant.tag - ahead + scaled;
            if !tenant.waiting.is_empty() {
                self.ready.remove(&(tenant.tag, index));
                self.ready.insert((tag, index));
                self.weights = self.weights - u64::from(before) + u64::from(claim.weight);
            }
            tenant.tag = tag;
        }
        self.tenants.claim(index, claim, now);
    }

    /// Removes a stream; what it was granted and did not collect is returned.
    pub(super) fn leave(&mut self, stream: usize) -> u64 {
        let granted = self.withdraw(stream);
        let tenant = self.streams.remove(stream).tenant;
        self.tenants.leave(tenant, self.tag);
        // However many come and go while one stays or waits.
        if let Some(tag) = self.tenants.crowded() {
            self.tag = self.tag.max(tag);
        }
        self.tenants.purge(self.tag);
        granted
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
        let tenant = self.tenants.of(claim.key);
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
        self.tenants.of(key).map_or(0, |tenant| tenant.asked)
    }

    /// Queues a stream for a quantum of `ask` bytes.
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
        entry.state = StreamState::Waiting {
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
            StreamState::Granted(bytes) => {
                let bytes = *bytes;
                entry.state = StreamState::Idle;
                Some(bytes)
            }
            StreamState::Waiting { waker: old, .. } => {
                old.clone_from(waker);
                None
            }
            StreamState::Idle => Some(0),
        }
    }

    /// Takes back a question, or what was granted to it.
    pub(super) fn withdraw(&mut self, stream: usize) -> u64 {
        let state = std::mem::replace(&mut self.streams[stream].state, StreamState::Idle);
        match state {
            StreamState::Idle => 0,
            StreamState::Granted(bytes) => bytes,
            StreamState::Waiting { ask, .. } => {
                self.unqueue(stream, ask);
                0
            }
        }
    }

    /// Grants what is due. `me` is being polled and needs no waking.
    pub(super) fn grant(&mut self, cell: &GcraCell, due: Due, me: usize, woken: &mut Vec<Waker>) {
        let mut served = std::mem::take(&mut self.served);
        while let Some(next) = self.first(due) {
            if cell.take(next.ask, due.position, due.burst).is_err() {
                break;
            }
            self.serve(&next, due.now);
            if next.granted == 0 {
                served.push(next.stream);
            }
            if next.granted + next.ask >= due.most {
                self.settle(next.stream, me, woken);
            }
        }
        for stream in served.drain(..) {
            self.settle(stream, me, woken);
        }
        self.served = served;
        self.tenants.purge(self.tag);
    }

    /// The stream that is granted next, the position of the schedule at which that happens, and its
    /// waker.
    pub(super) fn head(&self, cell: &GcraCell, due: Due) -> Option<(usize, u64, &Waker)> {
        let Next { stream, ask, .. } = self.first(due)?;
        let together = ask.max(due.together.min(self.asked));
        let position = cell.spent(due.position, due.burst).wrapping_add(together);
        match &self.streams[stream].state {
            StreamState::Waiting { waker, .. } => Some((stream, position, waker)),
            _ => None,
        }
    }

    /// The waker of a stream that waits and may look again.
    pub(super) fn any_waker(&self) -> Option<&Waker> {
        let (_, tenant) = self.ready.first()?;
        let (_, stream) = self.tenants[*tenant].waiting.first()?;
        match &self.streams[*stream].state {
            StreamState::Waiting { waker, .. } => Some(waker),
            _ => None,
        }
    }

    /// The wakers of some who wait, others each time.
    pub(super) fn some_wakers(&mut self, most: usize) -> Vec<Waker> {
        let last = self.roused;
        let after = self.streams.iter().filter(|(stream, _)| *stream > last);
        let before = self.streams.iter().filter(|(stream, _)| *stream <= last);
        let mut wakers = Vec::new();
        for (index, stream) in after.chain(before) {
            if let StreamState::Waiting { waker, .. } = &stream.state {
                wakers.push(waker.clone());
                self.roused = index;
            }
            if wakers.len() == most {
                break;
            }
        }
        wakers
    }

    /// Notes bytes that a stream took while no stream waited.
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
        self.tenants.purge(self.tag);
    }

    /// Who is next: a tenant that is owed its floor, else the one with the lowest tag.
    fn first(&self, due: Due) -> Option<Next> {
        let owed = self.tenants.owed(due.now);
        let tenant = match owed {
            Some(tenant) => tenant,
            None => self.ready.first()?.1,
        };
        let stream = self.tenants[tenant].waiting.first()?.1;
        match self.streams[stream].state {
            StreamState::Waiting { ask, granted, .. } => Some(Next {
                tenant,
                stream,
                ask: ask.min(due.quantum),
                granted,
                owed: owed.is_some(),
            }),
            _ => None,
        }
    }

    fn serve(&mut self, next: &Next, now: Instant) {
        let &Next {
            tenant: index,
            stream,
            ask: bytes,
            owed,
            ..
        } = next;
        let tenant = &mut self.tenants[index];
        let entry = &mut self.streams[stream];
        tenant.waiting.remove(&(entry.tag, stream));
        tenant.inner = tenant.inner.max(entry.tag);
        entry.tag += tagged(bytes, 1);
        tenant.waiting.insert((entry.tag, stream));
        if let StreamState::Waiting { granted, .. } = &mut entry.state {
            *granted += bytes;
        }
        self.ready.remove(&(tenant.tag, index));
        let step = tagged(bytes, tenant.weight);
        if owed {
            // What a floor gives beyond the part by weight is owed to no other tenant: without a bound the
            // tenant would starve once it has that floor no more. The least there is keeps the order of those
            // at the bound.
            let most = self.tag + CATCH_UP * step;
            tenant.tag = (tenant.tag + 1).max(most.min(tenant.tag + step));
        } else {
            self.tag = self.tag.max(tenant.tag);
            tenant.tag += step;
        }
        self.ready.insert((tenant.tag, index));
        self.tenants.serve_floor(index, bytes, owed, now);
        self.owe(index, now);
    }

    /// Ends the wait of a stream that has been served.
    fn settle(&mut self, stream: usize, me: usize, woken: &mut Vec<Waker>) {
        let state = std::mem::replace(&mut self.streams[stream].state, StreamState::Idle);
        match state {
            StreamState::Waiting {
                ask,
                granted,
                waker,
            } => {
                self.unqueue(stream, ask);
                self.streams[stream].state = StreamState::Granted(granted);
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
            self.tenants.owe_nothing(index);
        }
    }

    /// Notes when a waiting tenant's floor is due.
    fn owe(&mut self, index: usize, now: Instant) {
        let first = self.tenants[index].waiting.first();
        let ask = first.and_then(|&(_, stream)| match self.streams[stream].state {
            StreamState::Waiting { ask, .. } => Some(ask),
            _ => None,
        });
        self.tenants.owe(index, ask, now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    fn of(key: u64, weight: u32) -> Claim {
        Claim {
            key,
            weight,
            ..Claim::default()
        }
    }

    /// The tag of so many bytes.
    fn bytes(count: u64) -> Tag {
        tagged(count, 1)
    }

    impl Scheduler {
        fn tenant_tag(&self, stream: usize) -> Tag {
            self.tenants[self.streams[stream].tenant].tag
        }
    }

    #[test]
    fn a_tenant_whose_weight_changes_is_ahead_by_as_many_bytes_as_before() {
        let now = Instant::now();
        let mut scheduler = Scheduler::default();
        let other = scheduler.join(of(2, 1), now);
        (0..2).for_each(|_| scheduler.pass(other, 5_000));
        assert_eq!(scheduler.tag, bytes(5_000));
        let waiting = scheduler.join(of(1, 2), now);
        let one_more = scheduler.join(of(1, 2), now);
        scheduler.pass(waiting, 8_000);
        assert_eq!(scheduler.tenant_tag(waiting), bytes(9_000));
        let ask = |scheduler: &mut Scheduler, stream, claim| {
            scheduler.ask(stream, 100, claim, Waker::noop().clone(), now);
        };
        ask(&mut scheduler, waiting, of(1, 2));
        ask(&mut scheduler, other, of(2, 3));
        assert_eq!(scheduler.weights, 5);
        for (weight, ahead) in [(4, 2_000), (1, 8_000), (1, 8_000), (2, 4_000)] {
            ask(&mut scheduler, one_more, of(1, weight));
            let tag = bytes(5_000 + ahead);
            assert_eq!(scheduler.tenant_tag(waiting), tag, "{weight}");
            assert_eq!(scheduler.weights, 3 + u64::from(weight));
            let index = scheduler.streams[waiting].tenant;
            assert_eq!(scheduler.ready.len(), 2);
            assert!(scheduler.ready.contains(&(tag, index)));
            scheduler.withdraw(one_more);
        }
        scheduler.withdraw(waiting);
        assert_eq!((scheduler.weights, scheduler.waiting()), (3, 1));
        scheduler.withdraw(other);
        assert_eq!((scheduler.weights, scheduler.waiting()), (0, 0));
        assert_eq!(scheduler.asked(), 0);
        assert_eq!([1, 2].map(|key| scheduler.asked_by(key)), [0, 0]);
        assert!(scheduler.ready.is_empty());
    }

    #[test]
    fn what_passes_counts_and_no_more_than_two_quanta_are_caught_up() {
        let now = Instant::now();
        let mut scheduler = Scheduler::default();
        let [busy, idle] = [(); 2].map(|()| scheduler.join(of(1, 1), now));
        let other = scheduler.join(of(2, 1), now);
        (0..2).for_each(|_| scheduler.pass(busy, 10_000));
        scheduler.pass(idle, 1_000);
        assert_eq!(scheduler.streams[idle].tag, bytes(9_000));
        assert_eq!(scheduler.tag, bytes(20_000));
        scheduler.pass(other, 1_000);
        assert_eq!(scheduler.tenant_tag(other), bytes(19_000));
        assert_eq!(scheduler.tag, bytes(20_000));

        scheduler.pass(busy, 50_000);
        scheduler.pass(busy, 1);
        assert_eq!(scheduler.tag, bytes(71_000));
        for (stream, key) in [(idle, 1), (other, 2)] {
            scheduler.ask(stream, 1_000, of(key, 1), Waker::noop().clone(), now);
        }
        assert_eq!(scheduler.streams[idle].tag, bytes(68_000));
        assert_eq!(scheduler.tenant_tag(other), bytes(69_000));
        assert_eq!((scheduler.waiting(), scheduler.asked()), (2, 2_000));
    }

    #[test]
    fn what_a_floor_gives_puts_its_tenant_behind_by_two_quanta_at_most() {
        let now = Instant::now();
        let mut scheduler = Scheduler::default();
        let stream = scheduler.join(of(1, 2), now);
        scheduler.ask(stream, 8_000, of(1, 2), Waker::noop().clone(), now);
        let next = Next {
            tenant: scheduler.streams[stream].tenant,
            stream,
            ask: 2_000,
            granted: 0,
            owed: true,
        };
        for tag in [
            bytes(1_000),
            bytes(2_000),
            bytes(2_000) + 1,
            bytes(2_000) + 2,
        ] {
            scheduler.serve(&next, now);
            assert_eq!((scheduler.tenant_tag(stream), scheduler.tag), (tag, 0));
        }
    }

    #[test]
    fn of_those_who_wait_all_are_woken_in_turn() {
        #[derive(Default)]
        struct Woken(AtomicUsize);

        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let now = Instant::now();
        let mut scheduler = Scheduler::default();
        let woken: Vec<_> = (0..5).map(|_| Arc::new(Woken::default())).collect();
        for one in &woken {
            let stream = scheduler.join(of(1, 1), now);
            scheduler.ask(stream, 100, of(1, 1), Arc::clone(one).into(), now);
        }
        let _idle = scheduler.join(of(1, 1), now);
        for _ in 0..5 {
            let wakers = scheduler.some_wakers(2);
            assert_eq!(wakers.len(), 2);
            wakers.into_iter().for_each(Waker::wake);
        }
        let counts: Vec<_> = woken
            .iter()
            .map(|one| one.0.load(Ordering::Relaxed))
            .collect();
        assert_eq!(counts, [2; 5]);
        assert_eq!(scheduler.some_wakers(9).len(), 5);
    }

    #[test]
    fn tenants_that_are_gone_are_forgotten_though_nobody_ever_waits() {
        let mut scheduler = Scheduler::default();
        let now = Instant::now();
        let of = |key| Claim {
            key,
            ..Claim::default()
        };
        let _open = scheduler.join(of(0), now);
        for key in 1..=100_000 {
            let stream = scheduler.join(of(key), now);
            scheduler.pass(stream, 1000);
            scheduler.leave(stream);
        }
        assert!(scheduler.tenants.len() < 2000);
    }
}
