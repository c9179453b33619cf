use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::audit::limit_meters::{LimitMeters, UnderWay, Waiting};
use crate::audit::{Cut, Record};

use super::Direction;
use super::engine::{Compiled, Engine};
use super::lane::Lane;
use super::meter::{self, Meter};
use super::subject::Subject;

/// The largest body that is paid for at once, so that it needs no place at any gate.
const SMALL: u64 = 64 * 1024;

/// One body's way through its limits.
#[derive(Debug)]
pub(super) struct Pacer {
    engine: Arc<Engine>,
    generation: u64,
    subject: Arc<Subject>,
    direction: Direction,
    // Made for the first bytes that have to be asked for.
    lanes: Option<Vec<Lane>>,
    prepaid: Option<Prepaid>,
    meters: Vec<Meter>,
    under_way: Vec<UnderWay>,
    turn: Option<u64>,
    held: Option<(Instant, Waiting)>,
    backup: Option<Pin<Box<Sleep>>>,
    record: Option<Record>,
}

/// What a small body has taken of every limit at once, and not sent yet.
#[derive(Debug)]
struct Prepaid {
    of: Arc<Compiled>,
    bytes: u64,
}

impl Pacer {
    /// The way of a body. One that no limit counts has one too, since a reload may add a limit.
    pub(super) fn new(
        engine: &Arc<Engine>,
        subject: &Arc<Subject>,
        direction: Direction,
        record: Option<Record>,
    ) -> Self {
        let compiled = engine.compiled();
        let meters = compiled.meters(subject, direction);
        let under_way = compiled.under_way(subject, direction);
        Self {
            engine: Arc::clone(engine),
            generation: compiled.generation(),
            subject: Arc::clone(subject),
            direction,
            lanes: None,
            prepaid: None,
            meters,
            under_way,
            turn: None,
            held: None,
            backup: None,
            record,
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
        if self.generation != self.engine.generation() {
            self.plan_again();
        }
        if !self.prepay(rest) {
            ready!(self.poll_lanes(cx, rest));
        }
        let (bytes, calendar) = (wanted.min(self.holds()), &self.engine.calendar);
        let bytes = ready!(meter::poll_count(&self.meters, cx, bytes, calendar));
        if bytes == 0 {
            return Poll::Ready(Err(Cut::QuotaExceeded));
        }
        if let Some(prepaid) = &mut self.prepaid {
            prepaid.bytes -= bytes;
            self.prepaid.take_if(|prepaid| prepaid.bytes == 0);
        } else {
            let lanes = self.lanes.iter_mut().flatten();
            lanes.for_each(|lane| lane.send(bytes));
        }
        Poll::Ready(Ok(bytes))
    }

    /// What may be sent at once.
    fn holds(&self) -> u64 {
        if let Some(prepaid) = &self.prepaid {
            return prepaid.bytes;
        }
        let least = self.lanes.iter().flatten().map(Lane::holds).min();
        least.unwrap_or(u64::MAX)
    }

    /// Takes the whole of a small body of every limit, if nobody has to wait for it.
    fn prepay(&mut self, rest: u64) -> bool {
        if self.prepaid.is_none() && self.lanes.is_none() && (1..=SMALL).contains(&rest) {
            let compiled = self.engine.compiled();
            if compiled.take(&self.subject, self.direction, rest, Instant::now()) {
                let of = arc_swap::Guard::into_inner(compiled);
                self.prepaid = Some(Prepaid { of, bytes: rest });
            }
        }
        self.prepaid.is_some()
    }

    /// Makes sure that each gate has let some bytes pass.
    fn poll_lanes(&mut self, cx: &mut Context<'_>, rest: u64) -> Poll<()> {
        if self.lanes.is_none() {
            let compiled = self.engine.compiled();
            let now = Instant::now();
            self.lanes = Some(compiled.lanes(&self.subject, self.direction, now));
        }
        if self.holds() == 0 || self.turn.is_some() {
            ready!(self.poll_turn(cx, rest));
        }
        Poll::Ready(())
    }

    /// Takes the next turn at each gate, from the narrowest to the widest.
    fn poll_turn(&mut self, cx: &mut Context<'_>, rest: u64) -> Poll<()> {
        let now = Instant::now();
        let lanes = self.lanes.iter().flatten();
        let turns = lanes.map(|lane| lane.turn(now));
        let turn = self
            .turn
            .unwrap_or_else(|| turns.min().unwrap_or(rest).min(rest));
        let turn = self.turn.insert(turn);
        for lane in self.lanes.iter_mut().flatten() {
            if let Err(wait) = lane.take(cx, *turn, now) {
                let meters = Arc::clone(lane.meters());
                self.hold(cx, &meters, now, wait);
                return Poll::Pending;
            }
            // Above, no more than may be sent below.
            *turn = lane.holds().min(*turn);
        }
        self.turn = None;
        self.let_go(now);
        Poll::Ready(())
    }

    fn plan_again(&mut self) {
        let compiled = self.engine.compiled();
        if self.lanes.is_some() {
            // The new lanes first, so that no gate is put to rest in between.
            let lanes = compiled.lanes(&self.subject, self.direction, Instant::now());
            self.lanes = Some(lanes);
        }
        self.meters = compiled.meters(&self.subject, self.direction);
        self.under_way = compiled.under_way(&self.subject, self.direction);
        self.generation = compiled.generation();
        self.turn = None;
    }

    /// Notes that the body is held back. The gate's own timer wakes whoever is next; this later one
    /// is for the case that the one who was woken does not come.
    fn hold(&mut self, cx: &mut Context<'_>, by: &Arc<LimitMeters>, now: Instant, wait: Duration) {
        let still = |(_, waiting): &(_, Waiting)| waiting.is_by(by);
        if !self.held.as_ref().is_some_and(still) {
            self.let_go(now);
            self.held = Some((now, by.wait()));
        }
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
        let Some((since, waiting)) = self.held.take() else {
            return;
        };
        let time = now.saturating_duration_since(since);
        waiting.took(time);
        if let Some(record) = &self.record {
            record.throttled(time);
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

impl Drop for Pacer {
    fn drop(&mut self) {
        if self.held.is_some() {
            self.let_go(Instant::now());
        }
        if let Some(Prepaid { of, bytes }) = &self.prepaid {
            of.give_back(&self.subject, self.direction, *bytes);
        }
    }
}
