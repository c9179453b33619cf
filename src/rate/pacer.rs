use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::audit::metrics::Waiting;
use crate::audit::{Cut, Record};

use super::engine::Engine;
use super::gate::{Gate, Seat, Terms};
use super::keys::Gates;
use super::lease::Lease;
use super::quota::Usage;
use super::scheduler::Claim;
use super::subject::Subject;
use super::{Direction, Exhausted, MinProgress, Quota};

/// One body's way through its limits.
#[derive(Debug)]
pub(super) struct Pacer {
    engine: Arc<Engine>,
    generation: u64,
    subject: Arc<Subject>,
    direction: Direction,
    lanes: Vec<Lane>,
    meters: Vec<Meter>,
    turn: Option<u64>,
    held: Option<(Instant, Waiting)>,
    backup: Option<Pin<Box<Sleep>>>,
    progress: Option<Progress>,
    record: Option<Record>,
}

/// How fast a reader takes what it could have.
#[derive(Debug)]
struct Progress {
    least: MinProgress,
    sent: u64,
    slow: Duration,
    yielded: Option<Instant>,
}

/// One gate on a body's way, and what it has let pass that is not sent yet.
#[derive(Debug)]
pub(super) struct Lane {
    home: Option<(Arc<Gates>, u64)>,
    gate: Arc<Gate>,
    terms: Terms,
    claim: Claim,
    seat: Seat,
    holds: u64,
    lease: Option<Arc<Lease>>,
}

/// A quota that a body is counted in.
#[derive(Debug)]
pub(super) struct Meter {
    usage: Arc<Usage>,
    key: u64,
    quota: Quota,
}

impl Pacer {
    /// The way of a body. One that no limit counts has one too, since a reload may add a limit.
    pub(super) fn new(
        engine: &Arc<Engine>,
        subject: &Arc<Subject>,
        direction: Direction,
        record: Option<Record>,
    ) -> Self {
        let now = Instant::now();
        let compiled = engine.compiled();
        let lanes = compiled.lanes(subject, direction, now);
        let meters = compiled.meters(subject, direction);
        let progress = compiled.limits.min_progress.map(Progress::new);
        let progress = progress.filter(|_| direction == Direction::Response);
        Self {
            engine: Arc::clone(engine),
            generation: compiled.generation(),
            subject: Arc::clone(subject),
            direction,
            lanes,
            meters,
            turn: None,
            held: None,
            backup: None,
            progress,
            record,
        }
    }

    /// Notes that the consumer asks for a frame.
    pub(super) fn polled(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.polled();
        }
    }

    /// Waits until some of `wanted` bytes may be sent, counts those as sent, and gives their number,
    /// 1 at least. There will be `rest` bytes at most, those included.
    ///
    /// # Errors
    /// The transfer is to be ended.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        wanted: u64,
        rest: u64,
    ) -> Poll<Result<u64, Cut>> {
        if let Some(progress) = &mut self.progress
            && progress.is_too_slow()
        {
            return Poll::Ready(Err(Cut::TooSlow));
        }
        if self.generation != self.engine.generation() {
            self.plan_again(Instant::now());
        }
        let mut held = self.holds();
        if held == 0 || self.turn.is_some() {
            ready!(self.poll_turn(cx, rest));
            held = self.holds();
        }
        let bytes = self.meter(wanted.min(held));
        if bytes == 0 {
            return Poll::Ready(Err(Cut::QuotaExceeded));
        }
        for lane in &mut self.lanes {
            lane.holds -= bytes;
            if let Some(lease) = &lane.lease {
                lease.sent(bytes);
            }
        }
        if let Some(progress) = &mut self.progress {
            progress.sent(bytes);
        }
        Poll::Ready(Ok(bytes))
    }

    fn holds(&self) -> u64 {
        let least = self.lanes.iter().map(|lane| lane.holds).min();
        least.unwrap_or(u64::MAX)
    }

    /// Counts `bytes` in the quotas, or as many as are left in those that cut.
    fn meter(&self, bytes: u64) -> u64 {
        let mut allowed = bytes;
        for (index, meter) in self.meters.iter().enumerate() {
            let span = self.engine.calendar.span(meter.quota.window);
            let taken = match meter.quota.exhausted {
                Exhausted::Finish => {
                    meter.usage.add(meter.key, allowed, span);
                    allowed
                }
                Exhausted::Cut => meter.usage.take(meter.key, allowed, meter.quota, span),
            };
            if taken < allowed {
                for before in &self.meters[..index] {
                    let span = self.engine.calendar.span(before.quota.window);
                    before.usage.give_back(before.key, allowed - taken, span);
                }
                allowed = taken;
            }
        }
        allowed
    }

    /// Takes the next turn at each gate, from the narrowest to the widest.
    fn poll_turn(&mut self, cx: &mut Context<'_>, rest: u64) -> Poll<()> {
        let now = Instant::now();
        let turns = self.lanes.iter().map(Lane::turn);
        let turn = self
            .turn
            .unwrap_or_else(|| turns.min().unwrap_or(rest).min(rest));
        let turn = self.turn.insert(turn);
        for lane in &mut self.lanes {
            if let Err(wait) = lane.take(cx, *turn, now) {
                self.hold(cx, now, wait);
                return Poll::Pending;
            }
            // Above, no more than may be sent below.
            *turn = lane.holds.min(*turn);
        }
        self.turn = None;
        self.let_go(now);
        Poll::Ready(())
    }

    fn plan_again(&mut self, now: Instant) {
        let compiled = self.engine.compiled();
        // The new lanes first, so that no gate is put to rest in between.
        let lanes = compiled.lanes(&self.subject, self.direction, now);
        self.lanes = lanes;
        self.meters = compiled.meters(&self.subject, self.direction);
        self.generation = compiled.generation();
        self.turn = None;
    }

    /// Notes that the body is held back. The gate's own timer wakes whoever is next; this later one
    /// is for the case that the one who was woken does not come.
    fn hold(&mut self, cx: &mut Context<'_>, now: Instant, wait: Duration) {
        self.held.get_or_insert_with(|| (now, Waiting::begin()));
        let latest = now + wait + Duration::from_millis(50);
        let backup = self
            .backup
            .get_or_insert_with(|| Box::pin(sleep_until(latest)));
        backup.as_mut().reset(latest);
        if backup.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    fn let_go(&mut self, now: Instant) {
        if let Some((since, _)) = self.held.take()
            && let Some(record) = &self.record
        {
            record.throttled(now.saturating_duration_since(since));
        }
    }

    /// Notes why the transfer was ended.
    pub(super) fn cut(&self, cut: Cut) {
        if let Some(record) = &self.record {
            record.cut(cut);
        }
        tracing::info!(cut = cut.label(), "transfer ended: {cut}");
    }
}

impl Progress {
    fn new(least: MinProgress) -> Self {
        Self {
            least,
            sent: 0,
            slow: Duration::ZERO,
            yielded: None,
        }
    }

    /// What passes between a frame and the next question is the reader's time; what passes between
    /// a question and its frame is not.
    fn polled(&mut self) {
        if let Some(yielded) = self.yielded.take() {
            self.slow += yielded.elapsed();
        }
    }

    fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
        self.yielded = Some(Instant::now());
    }

    fn is_too_slow(&mut self) -> bool {
        if self.slow < self.least.window {
            return false;
        }
        let due = self.slow.as_nanos() * u128::from(self.least.rate) / 1_000_000_000;
        let slow = u128::from(self.sent) < due;
        (self.sent, self.slow) = (0, Duration::ZERO);
        slow
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        // A reader that took nothing at all was never seen again: its connection ended it.
        if let Some(progress) = &mut self.progress {
            progress.polled();
            if progress.is_too_slow() {
                self.cut(Cut::TooSlow);
            }
        }
        if self.held.is_some() {
            self.let_go(Instant::now());
        }
    }
}

impl Lane {
    /// A gate among others of the same limit.
    pub(super) fn new(
        gates: &Arc<Gates>,
        key: u64,
        terms: Terms,
        claim: Claim,
        now: Instant,
    ) -> Self {
        let gate = gates.gate(key, Some(&terms), terms.line.position(now));
        Self {
            home: Some((Arc::clone(gates), key)),
            gate,
            terms,
            claim,
            seat: Seat::default(),
            holds: 0,
            lease: None,
        }
    }

    /// A gate that nobody else passes.
    pub(super) fn alone(terms: Terms, now: Instant) -> Self {
        let word = terms.line.position(now).wrapping_sub(terms.burst);
        Self {
            home: None,
            gate: Arc::new(Gate::new(word)),
            terms,
            claim: Claim::default(),
            seat: Seat::default(),
            holds: 0,
            lease: None,
        }
    }

    /// With a rate that changes by itself.
    pub(super) fn with_lease(mut self, lease: Option<Arc<Lease>>) -> Self {
        self.lease = lease;
        self
    }

    fn turn(&self) -> u64 {
        self.gate.turn(&self.terms)
    }

    /// Makes sure of `turn` bytes.
    ///
    /// # Errors
    /// How long it may take at most, if it has to wait.
    fn take(&mut self, cx: &mut Context<'_>, turn: u64, now: Instant) -> Result<(), Duration> {
        if self.holds >= turn && !self.seat.is_asking() {
            return Ok(());
        }
        if let Some(lease) = &self.lease {
            self.terms = lease.terms();
        }
        let missing = turn.saturating_sub(self.holds).max(1);
        if !self.seat.is_asking() && self.gate.pass(missing, &self.terms, now) {
            self.holds += missing;
            return Ok(());
        }
        let (seat, terms) = (&mut self.seat, &self.terms);
        self.holds += self.gate.ask(cx, seat, missing, terms, self.claim, now)?;
        Ok(())
    }

    /// How long one more body would wait here for its first turn.
    pub(super) fn predicted_wait(&self, now: Instant) -> Duration {
        self.gate.predicted_wait(&self.terms, self.claim, now)
    }

    /// How long `bytes` of one more body would take here.
    pub(super) fn predicted_transfer(&self, bytes: u64) -> Duration {
        self.gate.predicted_transfer(bytes, &self.terms, self.claim)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.gate.give_back(self.holds);
        self.gate.leave(&mut self.seat);
        if let Some((gates, key)) = &self.home {
            gates.release(*key, &self.gate);
        }
    }
}

impl Meter {
    pub(super) fn new(usage: Arc<Usage>, key: u64, quota: Quota) -> Self {
        Self { usage, key, quota }
    }
}
