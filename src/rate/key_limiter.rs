use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::alarm::Alarm;
use super::gcra_cell::{GcraCell, later};
use super::parameters::Parameters;
use super::scheduler::{Due, Scheduler};
use super::tenants::Claim;
use super::wait_slot::WaitSlot;

/// The largest quantum. Above it a quantum costs next to nothing beside the copying of its bytes.
const LARGEST_QUANTUM: u64 = 256 * 1024;

/// The smallest quanta: 4 ms of a slow rate, within these bounds, of a stream that gets at least four
/// such in a second.
const SMALLEST_QUANTA: (u64, u64) = (512, 4096);

/// How much of a second's bytes is let pass together, so that streams that are served in turn are not
/// woken by a timer each.
const TOGETHER: u64 = 80;

/// How many streams are woken when the next one does not come.
const ROUSED: usize = 64;

/// What all bytes of one key pass through: a cell, and a queue once a stream has to wait.
///
/// Bytes are taken of the cell before they are sent, and some are sent much later: a reader stalls, or a wider
/// limit holds the stream back. A second cell counts the bytes that were sent, so that what was held does not
/// come on top of what has been let pass since.
#[derive(Debug)]
pub(super) struct KeyLimiter {
    cell: GcraCell,
    sent: GcraCell,
    waiting: AtomicUsize,
    streams: AtomicU32,
    users: AtomicU32,
    queue: Mutex<Option<Box<Queue>>>,
}

#[derive(Debug, Default)]
struct Queue {
    scheduler: Scheduler,
    alarm: Option<Alarm>,
}

/// Wakes the others in a limiter's queue.
#[derive(Debug)]
struct Bell(Weak<KeyLimiter>);

impl KeyLimiter {
    pub(super) fn new(word: u64) -> Self {
        Self {
            cell: GcraCell::from_word(word),
            sent: GcraCell::from_word(word),
            waiting: AtomicUsize::new(0),
            streams: AtomicU32::new(0),
            users: AtomicU32::new(0),
            queue: Mutex::new(None),
        }
    }

    /// One more user. Only under the lock of the shard that holds the limiter.
    pub(super) fn hold(self: &Arc<Self>) -> Arc<Self> {
        self.users.fetch_add(1, Ordering::Relaxed);
        Arc::clone(self)
    }

    /// One user less, and whether it was the last. Only under the lock of the shard.
    pub(super) fn let_go(&self) -> bool {
        self.users.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Where its key stands, by the cell that has less credit.
    pub(super) fn word(&self) -> u64 {
        later(self.cell.word(), self.sent.word())
    }

    /// How many streams are in flight, for caps.
    pub(super) fn streams(&self) -> &AtomicU32 {
        &self.streams
    }

    /// How many streams have had to wait here and are still in flight, and whether one waits now.
    #[cfg(feature = "redis")]
    pub(super) fn load(&self) -> (usize, bool) {
        let guard = self.lock();
        let streams = guard.as_ref().map_or(0, |queue| queue.scheduler.streams());
        (streams, self.waiting.load(Ordering::Relaxed) > 0)
    }

    /// How many bytes a stream asks for at a time: 10 ms of what it would get, so that it is smooth,
    /// but 1 ms of what all get, so that many streams do not make many timers, and no more than 2 s
    /// of what it would get, so that every client sees progress.
    pub(super) fn quantum(&self, parameters: &Parameters) -> u64 {
        let rate = parameters.schedule.rate();
        let own = match self.waiting.load(Ordering::Relaxed) as u64 {
            0 => rate,
            waiting => rate / (waiting + 1),
        };
        let (least, small) = SMALLEST_QUANTA;
        (rate / 1000)
            .max(own / 100)
            .min(own.saturating_mul(2))
            .max((rate / 250).clamp(least, small).min(own / 4))
            .min(LARGEST_QUANTUM)
            .min(parameters.burst / 4)
            .max(1)
    }

    /// How many bytes a stream may take at a time because no stream waits and the burst is not used up: the
    /// burst is there to be sent at once, however low the rate.
    pub(super) fn spare(&self, parameters: &Parameters, now: Instant) -> u64 {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return 0;
        }
        let position = parameters.schedule.position(now);
        (self.cell.credit(position, parameters.burst) / 4).min(LARGEST_QUANTUM)
    }

    /// Takes `bytes` if no stream waits.
    #[inline]
    pub(super) fn pass(&self, bytes: u64, parameters: &Parameters, now: Instant) -> bool {
        let position = parameters.schedule.position(now);
        let is_open = !parameters.shared && self.waiting.load(Ordering::Relaxed) == 0;
        is_open && self.cell.take(bytes, position, parameters.burst).is_ok()
    }

    /// Takes `bytes` that are sent at once, if no stream waits.
    ///
    /// # Errors
    /// The position of the schedule at which there would be so much.
    pub(super) fn take(&self, bytes: u64, position: u64, burst: u64) -> Result<(), u64> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return Err(self.cell.spent(position, burst).wrapping_add(bytes));
        }
        self.cell.take(bytes, position, burst)?;
        let sent = self.sent.take(bytes, position, burst);
        sent.inspect_err(|_| self.cell.give_back(bytes))
    }

    /// Notes that bytes which were taken are sent now.
    ///
    /// # Errors
    /// They were held for so long that as much has been let pass since: when they may be sent.
    #[inline]
    pub(super) fn send(
        &self,
        bytes: u64,
        parameters: &Parameters,
        now: Instant,
    ) -> Result<(), Instant> {
        let position = parameters.schedule.position(now);
        let sent = self.sent.take(bytes, position, parameters.burst);
        sent.map_err(|position| parameters.schedule.when(position, now))
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
        slot: &mut WaitSlot,
        bytes: u64,
        parameters: &Parameters,
        claim: Claim,
        now: Instant,
    ) -> Result<u64, Duration> {
        let position = parameters.schedule.position(now);
        let mut woken = Vec::new();
        let mut guard = self.lock();
        let queue = guard.get_or_insert_default();
        let stream = *slot
            .stream
            .get_or_insert_with(|| queue.scheduler.join(claim, now));
        if !slot.asking {
            if queue.scheduler.waiting() == 0
                && self.cell.take(bytes, position, parameters.burst).is_ok()
            {
                queue.scheduler.pass(stream, bytes);
                return Ok(bytes);
            }
            let waker = cx.waker().clone();
            queue.scheduler.ask(stream, bytes, claim, waker, now);
            slot.asking = true;
        }
        let due = self.due(parameters, position, now);
        queue.scheduler.grant(&self.cell, due, stream, &mut woken);
        let granted = queue.scheduler.collect(stream, cx.waker());
        // No stream is woken under the lock.
        woken.extend(queue.alarm(self, parameters, due, stream));
        let asked = queue.scheduler.asked();
        self.waiting
            .store(queue.scheduler.waiting(), Ordering::Relaxed);
        drop(guard);
        woken.into_iter().for_each(Waker::wake);
        match granted {
            Some(bytes) => {
                slot.asking = false;
                Ok(bytes)
            }
            None => Err(parameters.schedule.time_for(asked)),
        }
    }

    /// Gives back bytes that were taken and not sent.
    pub(super) fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.cell.give_back(bytes);
        self.kick();
    }

    /// Undoes a [`KeyLimiter::take`]; the caller then has to [kick](KeyLimiter::kick) a stream that waits.
    pub(super) fn untake(&self, bytes: u64) {
        self.cell.give_back(bytes);
        self.sent.give_back(bytes);
    }

    /// Wakes a stream that waits, to look again.
    pub(super) fn kick(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            let waker = self.lock().as_ref().and_then(|queue| queue.any_waker());
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Wakes several streams that wait, to look again: the next one has not come.
    pub(super) fn rouse(&self) {
        let mut guard = self.lock();
        let roused = guard
            .as_mut()
            .map(|queue| queue.scheduler.some_wakers(ROUSED));
        drop(guard);
        roused.into_iter().flatten().for_each(Waker::wake);
    }

    /// Ends a stream's part in the queue.
    pub(super) fn leave(&self, slot: &mut WaitSlot) {
        let Some(stream) = slot.stream.take() else {
            return;
        };
        slot.asking = false;
        let mut guard = self.lock();
        let Some(queue) = guard.as_mut() else {
            return;
        };
        let granted = queue.scheduler.leave(stream);
        self.cell.give_back(granted);
        let waiting = queue.scheduler.waiting();
        self.waiting.store(waiting, Ordering::Relaxed);
        // No timer can be set here, perhaps outside of a runtime: the stream that is woken sets it.
        let waker = queue.any_waker();
        if queue.scheduler.is_empty() {
            *guard = None;
        }
        drop(guard);
        waker.into_iter().for_each(Waker::wake);
    }

    /// How long one more stream would wait for its first quantum.
    pub(super) fn predicted_wait(
        &self,
        parameters: &Parameters,
        claim: Claim,
        now: Instant,
    ) -> Duration {
        let quantum = self.quantum(parameters);
        let position = parameters.schedule.position(now);
        let credit = self.cell.credit(position, parameters.burst);
        let guard = self.lock();
        let ahead = match guard.as_ref() {
            None => 0,
            Some(queue) if parameters.shared => {
                let (own, all) = queue.scheduler.part(claim);
                let rounds = queue.scheduler.asked_by(claim.key).saturating_add(quantum);
                let fair = u128::from(rounds) * u128::from(all) / u128::from(own.max(1));
                u64::try_from(fair)
                    .unwrap_or(u64::MAX)
                    .min(queue.scheduler.asked())
            }
            Some(queue) => queue.scheduler.asked(),
        };
        drop(guard);
        let missing = ahead.saturating_add(quantum).saturating_sub(credit);
        parameters.schedule.time_for(missing)
    }

    /// How long `bytes` would take one more stream, beside those that are waiting now. What there is
    /// of the burst takes no time.
    pub(super) fn predicted_transfer(
        &self,
        bytes: u64,
        parameters: &Parameters,
        claim: Claim,
        now: Instant,
    ) -> Duration {
        let credit = match self.waiting.load(Ordering::Relaxed) {
            0 => self
                .cell
                .credit(parameters.schedule.position(now), parameters.burst),
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
        parameters
            .schedule
            .time_for(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    fn due(&self, parameters: &Parameters, position: u64, now: Instant) -> Due {
        Due {
            position,
            burst: parameters.burst,
            quantum: self.quantum(parameters),
            most: (parameters.schedule.rate() / 250)
                .max(LARGEST_QUANTUM)
                .min(parameters.burst),
            together: (parameters.schedule.rate() / TOGETHER)
                .min(LARGEST_QUANTUM)
                .min(parameters.burst / 4),
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
    fn alarm(
        &mut self,
        limiter: &Arc<KeyLimiter>,
        parameters: &Parameters,
        due: Due,
        me: usize,
    ) -> Option<Waker> {
        let Some((stream, position, waker)) = self.scheduler.head(&limiter.cell, due) else {
            self.alarm = None;
            return None;
        };
        let when = parameters.schedule.when(position, due.now);
        let alarm = self.alarm.get_or_insert_with(|| {
            let bell = Bell(Arc::downgrade(limiter));
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

impl Wake for Bell {
    // No timer can be set here, in the timers' own driver: the stream that is woken sets it.
    fn wake(self: Arc<Self>) {
        if let Some(limiter) = self.0.upgrade() {
            limiter.rouse();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::super::schedule::Schedule;
    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn parameters(rate: u64, burst: u64, now: Instant) -> Parameters {
        Parameters {
            schedule: Schedule::new(rate, now),
            burst,
            shared: false,
        }
    }

    /// A limiter with so much credit now.
    fn limiter(credit: u64) -> Arc<KeyLimiter> {
        Arc::new(KeyLimiter::new(0_u64.wrapping_sub(credit)))
    }

    fn tenant(key: u64, weight: u32) -> Claim {
        Claim {
            key,
            weight,
            ..Claim::default()
        }
    }

    const MILLION: u64 = 1_000_000;

    #[test]
    fn a_quantum_is_smooth_for_few_and_seldom_for_many() {
        for (rate, burst, waiting, quantum) in [
            // 10 ms of what it would get.
            (MILLION, MILLION, 0, 10_000),
            (MILLION, MILLION, 1, 5_000),
            // 1 ms of what all get.
            (20 * MILLION, MILLION, 99, 20_000),
            // 4 ms of what all get, within bounds.
            (500_000, MILLION, 4, 2_000),
            (MILLION, MILLION, 9, 4_000),
            (MILLION / 10, MILLION, 9, 512),
            (2 * MILLION, MILLION, 99, 4_096),
            // But a fourth of a second of what it would get at most.
            (1_000, 4_000, 0, 250),
            // And 2 s of it, whatever all get.
            (MILLION, MILLION, 999_999, 2),
            (MILLION, MILLION, 2_000_000, 1),
            // Never more than the largest quantum and a fourth of the burst.
            (1_000 * MILLION, 1 << 30, 0, 262_144),
            (MILLION, 8, 0, 2),
            (MILLION, 3, 0, 1),
        ] {
            let limiter = limiter(0);
            limiter.waiting.store(waiting, Ordering::Relaxed);
            let parameters = parameters(rate, burst, Instant::now());
            assert_eq!(
                limiter.quantum(&parameters),
                quantum,
                "{rate} {burst} {waiting}"
            );
        }
    }

    #[test]
    fn a_fourth_of_the_burst_that_is_left_is_spare_while_no_stream_waits() {
        let now = Instant::now();
        for (credit, waiting, spare) in [
            (1_000, 0, 250),
            (0, 0, 0),
            (16 << 20, 0, 262_144),
            (1_000, 1, 0),
        ] {
            let limiter = limiter(credit);
            limiter.waiting.store(waiting, Ordering::Relaxed);
            let parameters = parameters(MILLION, 32 << 20, now);
            assert_eq!(limiter.spare(&parameters, now), spare, "{credit} {waiting}");
        }
    }

    #[test]
    fn only_what_is_not_shared_passes_without_being_queued_and_only_while_no_stream_waits() {
        let now = Instant::now();
        for (shared, waiting, credit, passes) in [
            (false, 0, 100, true),
            (false, 0, 99, false),
            (false, 1, 100, false),
            // What a tenant takes of a shared rate is held against it, which the queue does.
            (true, 0, 100, false),
            (true, 1, 100, false),
        ] {
            let limiter = limiter(credit);
            limiter.waiting.store(waiting, Ordering::Relaxed);
            let parameters = Parameters {
                shared,
                ..parameters(MILLION, MILLION, now)
            };
            assert_eq!(
                limiter.pass(100, &parameters, now),
                passes,
                "{shared} {waiting}"
            );
            let left = limiter.cell.credit(0, MILLION);
            assert_eq!(left, if passes { 0 } else { credit });
        }
    }

    #[test]
    fn what_is_sent_at_once_is_taken_of_both_cells_or_of_none() {
        let limiter = limiter(1_000);
        assert_eq!(limiter.take(600, 0, MILLION), Ok(()));
        assert_eq!(
            (
                limiter.cell.credit(0, MILLION),
                limiter.sent.credit(0, MILLION)
            ),
            (400, 400)
        );
        // There is so much 200 bytes later.
        assert_eq!(limiter.take(600, 0, MILLION), Err(200));
        assert_eq!(limiter.cell.credit(0, MILLION), 400);
        limiter.untake(600);
        assert_eq!(
            (
                limiter.cell.credit(0, MILLION),
                limiter.sent.credit(0, MILLION)
            ),
            (1_000, 1_000)
        );

        // What others took earlier was sent just now.
        assert_eq!(limiter.sent.take(900, 0, MILLION), Ok(()));
        assert_eq!(limiter.take(600, 0, MILLION), Err(500));
        assert_eq!(
            (
                limiter.cell.credit(0, MILLION),
                limiter.sent.credit(0, MILLION)
            ),
            (1_000, 100)
        );
        assert_eq!(limiter.word(), limiter.sent.word());

        limiter.waiting.store(1, Ordering::Relaxed);
        assert_eq!(limiter.take(100, 0, MILLION), Err(0_u64.wrapping_sub(900)));
        assert_eq!(limiter.cell.credit(0, MILLION), 1_000);
    }

    #[test]
    fn what_was_held_is_sent_when_there_is_room_beside_what_has_passed_since() {
        let now = Instant::now();
        let limiter = limiter(1_000);
        let parameters = parameters(1_000, 1_000, now);
        assert_eq!(limiter.send(700, &parameters, now), Ok(()));
        assert_eq!(limiter.sent.credit(0, 1_000), 300);
        let later = now + Duration::from_millis(400);
        assert_eq!(limiter.send(700, &parameters, now), Err(later));
        limiter.unsend(200);
        assert_eq!(limiter.sent.credit(0, 1_000), 500);
    }

    #[test]
    fn a_limiter_is_let_go_by_its_last_user() {
        let limiter = limiter(0);
        let (one, other) = (limiter.hold(), limiter.hold());
        assert!(!one.let_go());
        assert!(other.let_go());
    }

    #[test]
    fn what_is_granted_together_is_bounded_by_the_rate_and_the_burst() {
        let now = Instant::now();
        for (rate, burst, most, together) in [
            (1_000 * MILLION, 1 << 30, 4 * MILLION, 262_144),
            (MILLION, MILLION, 262_144, 12_500),
            (MILLION, 1_000, 1_000, 250),
        ] {
            let due = limiter(0).due(&parameters(rate, burst, now), 7, now);
            assert_eq!((due.position, due.burst), (7, burst));
            assert_eq!((due.most, due.together), (most, together), "{rate} {burst}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_what_is_asked_for_already_and_of_a_shared_rate_ones_own_part_of_it() {
        let now = Instant::now();
        let one = parameters(MILLION, MILLION, now);
        let shared = Parameters {
            shared: true,
            ..one
        };
        let micros = Duration::from_micros;
        let first = tenant(1, 1);
        // No stream waits: a quantum of 10 ms, of which the credit is there at once.
        for (credit, wait) in [(0, 10_000), (4_000, 6_000), (MILLION, 0)] {
            let waited = limiter(credit).predicted_wait(&one, first, now);
            assert_eq!(waited, micros(wait));
        }

        let limiter = limiter(0);
        let mut slot = WaitSlot::default();
        let mut cx = Context::from_waker(Waker::noop());
        let asked = limiter.ask(&mut cx, &mut slot, 20_000, &one, first, now);
        assert_eq!(asked, Err(micros(20_000)));
        assert!(slot.is_asking());
        // A quantum is of 5 ms now.
        for (parameters, claim, wait) in [
            (&one, tenant(2, 1), 25_000),
            // As many bytes of the other's as of one's own quantum.
            (&shared, tenant(2, 1), 15_000),
            (&shared, tenant(2, 5), 11_000),
            // Behind what one's own tenant asks for, never behind more than there is.
            (&shared, first, 25_000),
        ] {
            assert_eq!(
                limiter.predicted_wait(parameters, claim, now),
                micros(wait),
                "{claim:?}"
            );
        }
        limiter.leave(&mut slot);
        assert!(!slot.is_asking());
        assert_eq!(limiter.predicted_wait(&one, first, now), micros(10_000));
        assert!(limiter.lock().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_takes_its_bytes_over_its_part_of_the_rate_beyond_the_burst() {
        let now = Instant::now();
        let parameters = parameters(MILLION, MILLION, now);
        let seconds = Duration::from_secs;
        for (credit, bytes, time) in [
            (0, 2 * MILLION, seconds(2)),
            (MILLION, 2 * MILLION, seconds(1)),
            (MILLION, MILLION, seconds(0)),
        ] {
            let took = limiter(credit).predicted_transfer(bytes, &parameters, tenant(1, 1), now);
            assert_eq!(took, time);
        }
        let limiter = limiter(4_000);
        let mut slot = WaitSlot::default();
        let mut cx = Context::from_waker(Waker::noop());
        let asked = limiter.ask(&mut cx, &mut slot, 20_000, &parameters, tenant(1, 1), now);
        assert!(asked.is_err());
        // The credit is for who waits.
        for (claim, time) in [(tenant(2, 1), 4), (tenant(2, 2), 3), (tenant(1, 1), 4)] {
            let took = limiter.predicted_transfer(2 * MILLION, &parameters, claim, now);
            assert_eq!(took, seconds(time), "{claim:?}");
        }
        limiter.leave(&mut slot);
    }

    #[cfg(feature = "redis")]
    #[tokio::test(start_paused = true)]
    async fn the_load_is_the_streams_that_came_to_the_queue_and_whether_one_waits() {
        let now = Instant::now();
        let parameters = parameters(MILLION, MILLION, now);
        let limiter = limiter(1_000);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(limiter.load(), (0, false));
        let (mut one, mut other) = (WaitSlot::default(), WaitSlot::default());
        let mut ask = |slot| limiter.ask(&mut cx, slot, 1_000, &parameters, tenant(1, 1), now);
        assert_eq!(ask(&mut one), Ok(1_000));
        assert_eq!(limiter.load(), (1, false));
        assert!(ask(&mut other).is_err());
        assert_eq!(limiter.load(), (2, true));
        limiter.leave(&mut other);
        assert_eq!(limiter.load(), (1, false));
        limiter.leave(&mut one);
        assert_eq!(limiter.load(), (0, false));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_when_bytes_come_back_or_another_leaves() {
        let now = Instant::now();
        let parameters = parameters(MILLION, MILLION, now);
        let limiter = limiter(0);
        let woken = Arc::new(Woken::default());
        let count = || woken.0.swap(0, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let (mut one, mut other) = (WaitSlot::default(), WaitSlot::default());
        for slot in [&mut one, &mut other] {
            let asked = limiter.ask(&mut cx, slot, 1_000, &parameters, tenant(1, 1), now);
            assert!(asked.is_err());
        }
        count();
        limiter.kick();
        assert_eq!(count(), 1);
        limiter.rouse();
        assert_eq!(count(), 2);
        let bell = Waker::from(Arc::new(Bell(Arc::downgrade(&limiter))));
        bell.wake_by_ref();
        assert_eq!(count(), 2);
        bell.wake();
        assert_eq!(count(), 2);
        limiter.give_back(0);
        assert_eq!(count(), 0);
        limiter.give_back(100);
        assert_eq!(count(), 1);
        assert_eq!(limiter.cell.credit(0, MILLION), 100);
        limiter.leave(&mut one);
        assert_eq!(count(), 1);
        assert_eq!(limiter.waiting.load(Ordering::Relaxed), 1);
        limiter.leave(&mut other);
        assert_eq!(count(), 0);
        assert_eq!(limiter.waiting.load(Ordering::Relaxed), 0);
        limiter.kick();
        assert_eq!(count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_stream_is_woken_in_time_by_the_waker_that_it_came_with_last() {
        let now = Instant::now();
        let parameters = parameters(MILLION, MILLION, now);
        let limiter = limiter(0);
        let mut slot = WaitSlot::default();
        let wakers = [(); 2].map(|()| Arc::new(Woken::default()));
        for woken in &wakers {
            let waker = Waker::from(Arc::clone(woken));
            let mut cx = Context::from_waker(&waker);
            let asked = limiter.ask(&mut cx, &mut slot, 1_000, &parameters, tenant(1, 1), now);
            assert!(asked.is_err());
        }
        tokio::time::advance(Duration::from_millis(2)).await;
        let counts = wakers.map(|woken| woken.0.load(Ordering::Relaxed));
        assert_eq!(counts, [0, 1]);
        limiter.leave(&mut slot);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_granted_and_not_collected_goes_back_when_its_stream_leaves() {
        let now = Instant::now();
        let parameters = parameters(MILLION, MILLION, now);
        let limiter = limiter(0);
        let mut cx = Context::from_waker(Waker::noop());
        let (mut one, mut other) = (WaitSlot::default(), WaitSlot::default());
        for slot in [&mut one, &mut other] {
            let asked = limiter.ask(&mut cx, slot, 1_000, &parameters, tenant(1, 1), now);
            assert!(asked.is_err());
        }
        // There is enough for both when one of them looks.
        let later = now + Duration::from_millis(2);
        let granted = limiter.ask(&mut cx, &mut other, 1_000, &parameters, tenant(1, 1), later);
        assert_eq!(granted, Ok(1_000));
        assert_eq!(limiter.cell.credit(2_000, MILLION), 0);
        limiter.leave(&mut one);
        assert_eq!(limiter.cell.credit(2_000, MILLION), 1_000);
        limiter.leave(&mut other);
        assert_eq!(limiter.cell.credit(2_000, MILLION), 1_000);
    }
}
