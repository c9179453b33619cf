use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::alarm::Alarm;
use super::clock::{Clock, Line, later};
use super::scheduler::{Due, Scheduler};
use super::tenants::Claim;

/// The largest turn. Above it a turn costs next to nothing beside the copying of its bytes.
const LARGEST_TURN: u64 = 256 * 1024;

/// The smallest turns: 4 ms of a slow rate, within these bounds, of a stream that gets at least four
/// such in a second.
const SMALLEST_TURNS: (u64, u64) = (512, 4096);

/// How much of a second's bytes is let pass together, so that streams that are served in turn are not
/// woken by a timer each.
const TOGETHER: u64 = 80;

/// How many are woken when whoever is next does not come.
const ROUSED: usize = 64;

/// What all bytes of one key pass through: a clock, and a queue once somebody has to wait.
///
/// Bytes are taken of the clock before they are sent, and some are sent much later: a reader stalls,
/// or a wider limit holds the stream back. A second clock stands where the bytes are that were sent,
/// so that what was held does not come on top of what has been let pass since.
#[derive(Debug)]
pub(super) struct Gate {
    clock: Clock,
    sent: Clock,
    waiting: AtomicUsize,
    streams: AtomicU32,
    users: AtomicU32,
    queue: Mutex<Option<Box<Queue>>>,
}

/// At what rate a gate lets pass, and how it is shared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) line: Line,
    pub(super) burst: u64,
    pub(super) shared: bool,
}

#[derive(Debug, Default)]
struct Queue {
    scheduler: Scheduler,
    alarm: Option<Alarm>,
}

/// Wakes the others in a gate's queue.
#[derive(Debug)]
struct Bell(Weak<Gate>);

/// A stream's place in a gate's queue.
#[derive(Debug, Default)]
pub(super) struct Seat {
    stream: Option<usize>,
    asking: bool,
}

impl Gate {
    pub(super) fn new(word: u64) -> Self {
        Self {
            clock: Clock::from_word(word),
            sent: Clock::from_word(word),
            waiting: AtomicUsize::new(0),
            streams: AtomicU32::new(0),
            users: AtomicU32::new(0),
            queue: Mutex::new(None),
        }
    }

    /// One more user. Only under the lock of the shard that holds the gate.
    pub(super) fn hold(self: &Arc<Self>) -> Arc<Self> {
        self.users.fetch_add(1, Ordering::Relaxed);
        Arc::clone(self)
    }

    /// One user less, and whether it was the last. Only under the lock of the shard.
    pub(super) fn let_go(&self) -> bool {
        self.users.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Where its key stands, by the clock that has less credit.
    pub(super) fn word(&self) -> u64 {
        later(self.clock.word(), self.sent.word())
    }

    /// How many streams are under way, for caps.
    pub(super) fn streams(&self) -> &AtomicU32 {
        &self.streams
    }

    /// How many streams have had to wait here and are still under way, and whether one waits now.
    #[cfg(feature = "redis")]
    pub(super) fn load(&self) -> (usize, bool) {
        let guard = self.lock();
        let streams = guard.as_ref().map_or(0, |queue| queue.scheduler.streams());
        (streams, self.waiting.load(Ordering::Relaxed) > 0)
    }

    /// How many bytes a stream asks for at a time: 10 ms of what it would get, so that it is smooth,
    /// but 1 ms of what all get, so that many streams do not make many timers, and no more than 2 s
    /// of what it would get, so that every client sees progress.
    pub(super) fn turn(&self, terms: &Terms) -> u64 {
        let rate = terms.line.rate();
        let own = match self.waiting.load(Ordering::Relaxed) as u64 {
            0 => rate,
            waiting => rate / (waiting + 1),
        };
        let (least, small) = SMALLEST_TURNS;
        (rate / 1000)
            .max(own / 100)
            .min(own.saturating_mul(2))
            .max((rate / 250).clamp(least, small).min(own / 4))
            .min(LARGEST_TURN)
            .min(terms.burst / 4)
            .max(1)
    }

    /// How many bytes a stream may take at a time because nobody waits and the burst is not used up: it
    /// is there to be sent at once, however low the rate.
    pub(super) fn spare(&self, terms: &Terms, now: Instant) -> u64 {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return 0;
        }
        let position = terms.line.position(now);
        (self.clock.credit(position, terms.burst) / 4).min(LARGEST_TURN)
    }

    /// Takes `bytes` if nobody is asked to wait.
    #[inline]
    pub(super) fn pass(&self, bytes: u64, terms: &Terms, now: Instant) -> bool {
        let position = terms.line.position(now);
        let is_open = !terms.shared && self.waiting.load(Ordering::Relaxed) == 0;
        is_open && self.clock.take(bytes, position, terms.burst).is_ok()
    }

    /// Takes `bytes` that are sent at once, if nobody waits.
    ///
    /// # Errors
    /// The position of the line at which there would be so much.
    pub(super) fn take(&self, bytes: u64, position: u64, burst: u64) -> Result<(), u64> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return Err(self.clock.spent(position, burst).wrapping_add(bytes));
        }
        self.clock.take(bytes, position, burst)?;
        let sent = self.sent.take(bytes, position, burst);
        sent.inspect_err(|_| self.clock.give_back(bytes))
    }

    /// Notes that bytes which were taken are sent now.
    ///
    /// # Errors
    /// They were held for so long that as much has been let pass since: when they may be sent.
    #[inline]
    pub(super) fn send(&self, bytes: u64, terms: &Terms, now: Instant) -> Result<(), Instant> {
        let position = terms.line.position(now);
        let sent = self.sent.take(bytes, position, terms.burst);
        sent.map_err(|position| terms.line.when(position, now))
    }

    /// Notes that bytes are not sent after all.
    pub(super) fn unsend(&self, bytes: u64) {
        self.sent.give_back(bytes);
    }

    /// Asks for `bytes`, or whether those asked for before have been granted. May give more, and
    /// less if the burst is less.
    ///
    /// # Errors
    /// How long everything that waits here will take; `cx` is woken when it is this stream's turn.
    pub(super) fn ask(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        seat: &mut Seat,
        bytes: u64,
        terms: &Terms,
        claim: Claim,
        now: Instant,
    ) -> Result<u64, Duration> {
        let position = terms.line.position(now);
        let mut woken = Vec::new();
        let mut guard = self.lock();
        let queue = guard.get_or_insert_default();
        let stream = *seat
            .stream
            .get_or_insert_with(|| queue.scheduler.join(claim, now));
        if !seat.asking {
            if queue.scheduler.waiting() == 0
                && self.clock.take(bytes, position, terms.burst).is_ok()
            {
                queue.scheduler.pass(stream, bytes);
                return Ok(bytes);
            }
            let waker = cx.waker().clone();
            queue.scheduler.ask(stream, bytes, claim, waker, now);
            seat.asking = true;
        }
        let due = self.due(terms, position, now);
        queue.scheduler.grant(&self.clock, due, stream, &mut woken);
        let granted = queue.scheduler.collect(stream, cx.waker());
        // Nobody is woken under the lock.
        woken.extend(queue.alarm(self, terms, due, stream));
        let asked = queue.scheduler.asked();
        self.waiting
            .store(queue.scheduler.waiting(), Ordering::Relaxed);
        drop(guard);
        woken.into_iter().for_each(Waker::wake);
        match granted {
            Some(bytes) => {
                seat.asking = false;
                Ok(bytes)
            }
            None => Err(terms.line.time_for(asked)),
        }
    }

    /// Gives back bytes that were taken and not sent.
    pub(super) fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.clock.give_back(bytes);
        self.kick();
    }

    /// Undoes a [`Gate::take`]; somebody who waits has to be [kicked](Gate::kick) then.
    pub(super) fn untake(&self, bytes: u64) {
        self.clock.give_back(bytes);
        self.sent.give_back(bytes);
    }

    /// Has somebody who waits look again.
    pub(super) fn kick(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            let waker = self.lock().as_ref().and_then(|queue| queue.any_waker());
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Has several of those who wait look again: whoever was next has not come.
    pub(super) fn rouse(&self) {
        let mut guard = self.lock();
        let roused = guard
            .as_mut()
            .map(|queue| queue.scheduler.some_wakers(ROUSED));
        drop(guard);
        roused.into_iter().flatten().for_each(Waker::wake);
    }

    /// Ends a stream's part in the queue.
    pub(super) fn leave(&self, seat: &mut Seat) {
        let Some(stream) = seat.stream.take() else {
            return;
        };
        seat.asking = false;
        let mut guard = self.lock();
        let Some(queue) = guard.as_mut() else {
            return;
        };
        let granted = queue.scheduler.leave(stream);
        self.clock.give_back(granted);
        let waiting = queue.scheduler.waiting();
        self.waiting.store(waiting, Ordering::Relaxed);
        // No timer can be set here, perhaps outside of a runtime: whoever is woken sets it.
        let waker = queue.any_waker();
        if queue.scheduler.is_empty() {
            *guard = None;
        }
        drop(guard);
        waker.into_iter().for_each(Waker::wake);
    }

    /// How long one more stream would wait for its first turn.
    pub(super) fn predicted_wait(&self, terms: &Terms, claim: Claim, now: Instant) -> Duration {
        let turn = self.turn(terms);
        let position = terms.line.position(now);
        let credit = self.clock.credit(position, terms.burst);
        let guard = self.lock();
        let ahead = match guard.as_ref() {
            None => 0,
            Some(queue) if terms.shared => {
                let (own, all) = queue.scheduler.part(claim);
                let rounds = queue.scheduler.asked_by(claim.key).saturating_add(turn);
                let fair = u128::from(rounds) * u128::from(all) / u128::from(own.max(1));
                u64::try_from(fair)
                    .unwrap_or(u64::MAX)
                    .min(queue.scheduler.asked())
            }
            Some(queue) => queue.scheduler.asked(),
        };
        drop(guard);
        let missing = ahead.saturating_add(turn).saturating_sub(credit);
        terms.line.time_for(missing)
    }

    /// How long `bytes` would take one more stream, beside those that are waiting now. What there is
    /// of the burst takes no time.
    pub(super) fn predicted_transfer(
        &self,
        bytes: u64,
        terms: &Terms,
        claim: Claim,
        now: Instant,
    ) -> Duration {
        let credit = match self.waiting.load(Ordering::Relaxed) {
            0 => self.clock.credit(terms.line.position(now), terms.burst),
            _ => 0,
        };
        let missing = bytes.saturating_sub(credit);
        let guard = self.lock();
        let (own, all) = match guard.as_ref() {
            None => (1, 1),
            Some(queue) => queue.scheduler.part(claim),
        };
        drop(guard);
        let scaled = u128::from(missing) * u128::from(all) / u128::from(own.max(1));
        terms
            .line
            .time_for(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    fn due(&self, terms: &Terms, position: u64, now: Instant) -> Due {
        Due {
            position,
            burst: terms.burst,
            turn: self.turn(terms),
            most: (terms.line.rate() / 250).max(LARGEST_TURN).min(terms.burst),
            together: (terms.line.rate() / TOGETHER)
                .min(LARGEST_TURN)
                .min(terms.burst / 4),
            now,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Queue>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Sets the timer for the next grant, which wakes the stream that will get it; gives its waker
    /// if the time has come already.
    fn alarm(&mut self, gate: &Arc<Gate>, terms: &Terms, due: Due, me: usize) -> Option<Waker> {
        let Some((stream, position, waker)) = self.scheduler.head(&gate.clock, due) else {
            self.alarm = None;
            return None;
        };
        let when = terms.line.when(position, due.now);
        let alarm = self.alarm.get_or_insert_with(|| {
            let bell = Bell(Arc::downgrade(gate));
            Alarm::new(Arc::new(bell).into(), due.now)
        });
        if alarm.is_set(stream, when) && stream != me {
            return None;
        }
        alarm.set(stream, when, waker).then(|| waker.clone())
    }

    fn any_waker(&self) -> Option<Waker> {
        self.scheduler.any_waker().cloned()
    }
}

impl Seat {
    /// Whether the stream waits in the queue.
    pub(super) fn is_asking(&self) -> bool {
        self.asking
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    // No timer can be set here, in the timers' own driver: whoever is woken sets it.
    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(gate) = self.0.upgrade() {
            gate.rouse();
        }
    }
}
