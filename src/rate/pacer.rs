use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::record::{Cut, Record};
use crate::telemetry::limit_meters::{LimitMeters, TransferInFlight, Waiting};

use super::Direction;
use super::engine::{Compiled, Engine};
use super::handle::Handle;
use super::meter::{self, Meter};
use super::subject::Subject;

/// The largest body that is paid for at once, so that it needs no place at any limiter.
const SMALL: u64 = 64 * 1024;

/// One body's way through its limits.
#[derive(Debug)]
pub(super) struct Pacer {
    engine: Arc<Engine>,
    generation: u64,
    subject: Subject,
    direction: Direction,
    // Made for the first bytes that have to be asked for.
    handles: Option<Vec<Handle>>,
    meters: Vec<Meter>,
    in_flight: Vec<TransferInFlight>,
    quantum: Option<u64>,
    held: Option<(Instant, Waiting)>,
    backup: Option<Pin<Box<Sleep>>>,
    ended: Option<Cut>,
    record: Option<Record>,
}

impl Pacer {
    /// The way of a body. One that no limit counts has one too, since a reload may add a limit.
    pub(super) fn new(
        engine: Arc<Engine>,
        compiled: &Compiled,
        subject: Subject,
        direction: Direction,
        record: Option<Record>,
    ) -> Self {
        let meters = compiled.meters(&subject, direction);
        let in_flight = compiled.in_flight(&subject, direction);
        Self {
            engine,
            generation: compiled.generation(),
            subject,
            direction,
            handles: None,
            meters,
            in_flight,
            quantum: None,
            held: None,
            backup: None,
            ended: None,
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
        if let Some(cut) = self.ended {
            return Poll::Ready(Err(cut));
        }
        if self.generation != self.engine.generation() {
            self.plan_again();
        }
        let prepaid = self.prepay(wanted, rest);
        let bytes = match &prepaid {
            Some(_) => wanted,
            None => ready!(self.poll_pass(cx, wanted, rest)),
        };
        let counted = meter::poll_count(&self.meters, cx, bytes, &self.engine.calendar);
        let sent = if let Poll::Ready(sent) = counted {
            sent
        } else {
            0
        };
        if sent < bytes {
            match &prepaid {
                Some(of) => of.give_back(&self.subject, self.direction, bytes - sent),
                None => unsend(
                    self.handles.as_deref_mut().unwrap_or_default(),
                    bytes - sent,
                ),
            }
        }
        ready!(counted);
        if sent == 0 {
            self.end(Cut::QuotaExceeded);
            return Poll::Ready(Err(Cut::QuotaExceeded));
        }
        Poll::Ready(Ok(sent))
    }

    /// What was taken and not sent.
    fn holds(&self) -> u64 {
        let least = self.handles.iter().flatten().map(Handle::holds).min();
        least.unwrap_or(u64::MAX)
    }

    /// Takes what a small body sends now of every limit at once, if it need not wait; returns the limits of
    /// which it was taken.
    fn prepay(&self, wanted: u64, rest: u64) -> Option<arc_swap::Guard<Arc<Compiled>>> {
        if self.handles.is_some() || !(1..=SMALL).contains(&rest) {
            return None;
        }
        let of = self.engine.compiled();
        let taken = of.take(&self.subject, self.direction, wanted, Instant::now());
        taken.then_some(of)
    }

    /// Waits until some of `wanted` bytes have been let pass by every limiter, and counts them there.
    fn poll_pass(&mut self, cx: &mut Context<'_>, wanted: u64, rest: u64) -> Poll<u64> {
        if self.handles.as_ref().is_some_and(Vec::is_empty) {
            return Poll::Ready(wanted);
        }
        let now = Instant::now();
        ready!(self.poll_handles(cx, rest, now));
        let handles = self.handles.as_deref_mut().unwrap_or_default();
        let sendable = handles.iter().map(Handle::sendable).min();
        let bytes = sendable.unwrap_or(wanted).min(wanted);
        let mut sending = handles.iter_mut().enumerate();
        let refused =
            sending.find_map(|(index, handle)| Some((index, handle.send(bytes, now).err()?)));
        if let Some((index, when)) = refused {
            let meters = Arc::clone(handles[index].meters());
            unsend(&mut handles[..index], bytes);
            self.hold(cx, &meters, now, when);
            return Poll::Pending;
        }
        self.let_go(now);
        Poll::Ready(bytes)
    }

    /// Makes sure that each limiter has let some bytes pass.
    fn poll_handles(&mut self, cx: &mut Context<'_>, rest: u64, now: Instant) -> Poll<()> {
        if self.handles.is_none() {
            let compiled = self.engine.compiled();
            self.handles = Some(compiled.handles(&self.subject, self.direction, now));
        }
        if self.holds() == 0 || self.quantum.is_some() {
            ready!(self.poll_quantum(cx, rest, now));
        }
        Poll::Ready(())
    }

    /// Takes the next quantum at each limiter, from the narrowest to the widest.
    fn poll_quantum(&mut self, cx: &mut Context<'_>, rest: u64, now: Instant) -> Poll<()> {
        let handles = self.handles.iter().flatten();
        let quanta = handles.map(|handle| handle.quantum(now));
        let quantum = self
            .quantum
            .unwrap_or_else(|| quanta.min().unwrap_or(rest).min(rest));
        let quantum = self.quantum.insert(quantum);
        for handle in self.handles.iter_mut().flatten() {
            if let Err(wait) = handle.take(cx, *quantum, now) {
                let meters = Arc::clone(handle.meters());
                // The limiter's own timer wakes the next stream, and others if that one does not come; this is
                // for the case that none of them does.
                self.hold(cx, &meters, now, now + wait + Duration::from_millis(50));
                return Poll::Pending;
            }
            // Above, no more than may be sent below.
            *quantum = handle.holds().min(*quantum);
        }
        self.quantum = None;
        Poll::Ready(())
    }

    fn plan_again(&mut self) {
        let compiled = self.engine.compiled();
        if self.handles.is_some() {
            // The new handles first, so that no limiter is put to rest in between.
            let handles = compiled.handles(&self.subject, self.direction, Instant::now());
            self.handles = Some(handles);
        }
        self.meters = compiled.meters(&self.subject, self.direction);
        self.in_flight = compiled.in_flight(&self.subject, self.direction);
        self.generation = compiled.generation();
        self.quantum = None;
    }

    /// Notes that the body is held back, and looks again at `latest`.
    fn hold(&mut self, cx: &mut Context<'_>, by: &Arc<LimitMeters>, now: Instant, latest: Instant) {
        let still = |(_, waiting): &(_, Waiting)| waiting.is_by(by);
        if !self.held.as_ref().is_some_and(still) {
            self.let_go(now);
            self.held = Some((now, by.wait()));
        }
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

    /// Ends the transfer for good, and notes why.
    fn end(&mut self, cut: Cut) {
        self.ended = Some(cut);
        self.handles = None;
        self.in_flight.clear();
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
    }
}

fn unsend(handles: &mut [Handle], bytes: u64) {
    for handle in handles {
        handle.unsend(bytes);
    }
}
