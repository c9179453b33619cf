use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// So many turns at a time. Who has to wait does so in its own lane: lanes take turns, so that one with many
/// waiting delays another by one of its own. Where the queue is full, the longest lane gives up its newest for a
/// shorter one, and among lanes of one length the one with the worst standing for one with a better: sources with recent
/// failures do not lock out a client without any.
#[derive(Clone)]
pub(super) struct Turns(Arc<Inner>);

/// Who asks for a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) lane: Lane,
    /// How many failures its source has that are not forgiven yet.
    pub(super) failures: u32,
}

/// A client's source, of which those without a known address are one, and whether the password of the user that it claims
/// was right there within a day: other users' guesses at that source are not in its lane.
pub(super) type Lane = (Option<u128>, bool);

/// Better is less: a source with failures is behind those without any, and behind each caller's own.
type Standing = (bool, u32);

struct Inner {
    queue: Mutex<Queue>,
    most_waiting: usize,
}

struct Queue {
    free: usize,
    /// The lanes in the order of their turns, each with at least one that waits.
    lanes: VecDeque<(Lane, VecDeque<Waiting>)>,
}

struct Waiting {
    standing: Standing,
    turn: oneshot::Sender<Turn>,
}

/// A turn, which ends when this is dropped.
pub(super) struct Turn(Option<Arc<Inner>>);

/// The queue is full, and no lane has to give up a place for this one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Claim {
    /// Of a source without failures.
    pub(super) fn of(source: Option<u128>) -> Self {
        Self {
            lane: (source, false),
            failures: 0,
        }
    }

    fn standing(self) -> Standing {
        let (_, is_own) = self.lane;
        (self.failures > 0 && !is_own, self.failures)
    }
}

impl Turns {
    pub(super) fn new(at_once: usize, most_waiting: usize) -> Self {
        Self(Arc::new(Inner {
            queue: Mutex::new(Queue {
                free: at_once,
                lanes: VecDeque::new(),
            }),
            most_waiting,
        }))
    }

    /// Refuses as [`Turns::take`] would at once.
    pub(super) fn check_room(&self, claim: Claim) -> Result<(), Full> {
        let mut queue = self.0.lock();
        if queue.free > 0 {
            return Ok(());
        }
        queue.room_for(claim, self.0.most_waiting).map(drop)
    }

    /// Waits for a turn.
    pub(super) async fn take(&self, claim: Claim) -> Result<Turn, Full> {
        let turn = {
            let mut queue = self.0.lock();
            if queue.free > 0 {
                queue.free -= 1;
                return Ok(Turn(Some(Arc::clone(&self.0))));
            }
            if let Some(at) = queue.room_for(claim, self.0.most_waiting)? {
                queue.evict(at);
            }
            queue.wait(claim)
        };
        // Without an answer it was evicted.
        turn.await.map_err(|_| Full)
    }
}

impl Queue {
    /// Makes room where the queue is full: returns which lane has to give up its newest for it, if any has to.
    fn room_for(&mut self, claim: Claim, most: usize) -> Result<Option<usize>, Full> {
        self.forget_those_who_left();
        let lengths = self.lanes.iter().map(|(_, waiting)| waiting.len());
        if lengths.sum::<usize>() < most {
            return Ok(None);
        }
        let own = self.lanes.iter().find(|(lane, _)| *lane == claim.lane);
        let own = own.map_or(0, |(_, waiting)| waiting.len());
        let newest = self.lanes.iter().map(|(_, waiting)| {
            let newest = waiting.back().map(|newest| newest.standing);
            (waiting.len(), newest.unwrap_or_default())
        });
        match newest.enumerate().max_by_key(|(_, newest)| *newest) {
            Some((at, (length, standing)))
                if length > own + 1 || (length == own + 1 && standing > claim.standing()) =>
            {
                Ok(Some(at))
            }
            _ => Err(Full),
        }
    }

    fn forget_those_who_left(&mut self) {
        self.lanes.retain_mut(|(_, waiting)| {
            waiting.retain(|waiting| !waiting.turn.is_closed());
            !waiting.is_empty()
        });
    }

    fn evict(&mut self, at: usize) {
        let waiting = &mut self.lanes[at].1;
        waiting.pop_back();
        if waiting.is_empty() {
            self.lanes.remove(at);
        }
    }

    fn wait(&mut self, claim: Claim) -> oneshot::Receiver<Turn> {
        let (turn, receiver) = oneshot::channel();
        let standing = claim.standing();
        let waiting = Waiting { standing, turn };
        let own = self.lanes.iter_mut().find(|(lane, _)| *lane == claim.lane);
        match own {
            Some((_, lane)) => lane.push_back(waiting),
            None => self.lanes.push_back((claim.lane, [waiting].into())),
        }
        receiver
    }

    /// The first of the lane whose turn it is, which goes behind the others.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (lane, mut waiting) = self.lanes.pop_front()?;
        let next = waiting.pop_front();
        if !waiting.is_empty() {
            self.lanes.push_back((lane, waiting));
        }
        next.map(|next| next.turn)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(inner) = self.0.take() else { return };
        loop {
            let Some(next) = inner.lock().next() else {
                break;
            };
            match next.send(Self(Some(Arc::clone(&inner)))) {
                Ok(()) => return,
                // It has left; what it was given must not end a second turn.
                Err(mut turn) => turn.0 = None,
            }
        }
        inner.lock().free += 1;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const A: Claim = claim(1, false, 0);
    const B: Claim = claim(2, false, 0);

    const fn claim(source: u128, own: bool, failures: u32) -> Claim {
        Claim {
            lane: (Some(source), own),
            failures,
        }
    }

    fn start(
        turns: &Turns,
        claim: Claim,
    ) -> std::pin::Pin<Box<impl Future<Output = Result<Turn, Full>>>> {
        let mut taking = Box::pin(turns.take(claim));
        assert!((&mut taking).now_or_never().is_none());
        taking
    }

    #[test]
    fn there_is_room_where_a_turn_is_free_though_none_may_wait() {
        let turns = Turns::new(1, 0);
        for _ in 0..2 {
            assert!(turns.check_room(A).is_ok());
            let turn = turns.take(A).now_or_never().unwrap().unwrap();
            assert!(turns.check_room(A).is_err());
            assert!(turns.take(B).now_or_never().unwrap().is_err());
            drop(turn);
        }
    }

    #[test]
    fn a_source_waits_for_one_turn_of_another_however_many_that_has_waiting() {
        let turns = Turns::new(1, 8);
        let turn = turns.take(A).now_or_never().unwrap().unwrap();
        let mut first = [start(&turns, A), start(&turns, A), start(&turns, A)];
        let mut other = start(&turns, B);
        drop(turn);
        let turn = (&mut first[0]).now_or_never().unwrap().unwrap();
        drop(turn);
        let turn = (&mut other).now_or_never().unwrap().unwrap();
        assert!((&mut first[1]).now_or_never().is_none());
        drop(turn);
        drop((&mut first[1]).now_or_never().unwrap().unwrap());
        drop((&mut first[2]).now_or_never().unwrap().unwrap());
        assert!(turns.take(B).now_or_never().is_some());
    }

    #[test]
    fn a_full_queue_has_room_for_the_source_that_has_fewer_in_it() {
        let turns = Turns::new(1, 3);
        let _turn = turns.take(A).now_or_never().unwrap();
        let mut first = [start(&turns, A), start(&turns, A), start(&turns, A)];
        assert_eq!(turns.check_room(A), Err(Full));
        assert!(turns.take(A).now_or_never().unwrap().is_err());
        assert_eq!(turns.check_room(B), Ok(()));
        let _other = start(&turns, B);
        assert!(
            (&mut first[2]).now_or_never().unwrap().is_err(),
            "the newest"
        );
        assert!((&mut first[1]).now_or_never().is_none());
        // Two and one: as many for both would be no fairer.
        assert_eq!(turns.check_room(B), Err(Full));
    }

    #[test]
    fn a_full_queue_has_room_for_the_source_that_failed_less() {
        let turns = Turns::new(1, 3);
        let _turn = turns.take(A).now_or_never().unwrap();
        let mut guessing = [(10, 20), (11, 19), (12, 18)]
            .map(|(source, failures)| start(&turns, claim(source, false, failures)));
        assert_eq!(turns.check_room(claim(13, false, 20)), Err(Full));
        let mut clean = start(&turns, A);
        let worst = (&mut guessing[0]).now_or_never().unwrap();
        assert!(worst.is_err(), "the one with most failures");
        // One's own user at a source with failures of others, and not in their lane.
        let mut own = start(&turns, claim(12, true, 30));
        assert!((&mut guessing[1]).now_or_never().unwrap().is_err());
        let _other = start(&turns, claim(14, true, 0));
        assert!((&mut guessing[2]).now_or_never().unwrap().is_err());
        assert_eq!(turns.check_room(claim(15, false, 1)), Err(Full));
        assert!((&mut clean).now_or_never().is_none());
        assert!((&mut own).now_or_never().is_none());
    }

    #[test]
    fn who_leaves_gives_up_its_place_and_its_turn() {
        let turns = Turns::new(1, 2);
        let turn = turns.take(A).now_or_never().unwrap();
        let left = start(&turns, A);
        let mut stays = start(&turns, A);
        drop(left);
        assert_eq!(turns.check_room(A), Ok(()));
        let leaves_with_it = start(&turns, A);
        drop(turn);
        drop(stays.as_mut().now_or_never().unwrap().unwrap());
        // It was given a turn and never looked.
        drop(leaves_with_it);
        assert!(turns.take(B).now_or_never().unwrap().is_ok());
    }
}
