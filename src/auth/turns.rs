use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// So many turns at a time. Who has to wait does so behind its own source: sources take turns, so that one with
/// many waiting delays another by one of its own, and gives up its newest where the queue is full.
#[derive(Clone)]
pub(super) struct Turns(Arc<Inner>);

/// A caller's source; those without a known address are one.
pub(super) type Source = Option<u128>;

struct Inner {
    queue: Mutex<Queue>,
    most_waiting: usize,
}

struct Queue {
    free: usize,
    /// The sources in the order of their turns, each with at least one that waits.
    sources: VecDeque<(Source, VecDeque<oneshot::Sender<Turn>>)>,
}

/// A turn, which ends when this is dropped.
pub(super) struct Turn(Option<Arc<Inner>>);

/// The queue is full, and no other source has more in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Turns {
    pub(super) fn new(at_once: usize, most_waiting: usize) -> Self {
        Self(Arc::new(Inner {
            queue: Mutex::new(Queue {
                free: at_once,
                sources: VecDeque::new(),
            }),
            most_waiting,
        }))
    }

    /// Refuses as [`Turns::take`] would at once.
    pub(super) fn check_room(&self, source: Source) -> Result<(), Full> {
        let mut queue = self.0.lock();
        if queue.free > 0 {
            return Ok(());
        }
        queue.room_for(source, self.0.most_waiting).map(drop)
    }

    /// Waits for a turn.
    pub(super) async fn take(&self, source: Source) -> Result<Turn, Full> {
        let turn = {
            let mut queue = self.0.lock();
            if queue.free > 0 {
                queue.free -= 1;
                return Ok(Turn(Some(Arc::clone(&self.0))));
            }
            let evicted = queue.room_for(source, self.0.most_waiting)?;
            if let Some(at) = evicted {
                queue.evict(at);
            }
            queue.wait(source)
        };
        // Without an answer it was evicted.
        turn.await.map_err(|_| Full)
    }
}

impl Queue {
    /// Makes room where the queue is full: returns which source has to give up one for it, if any has to.
    fn room_for(&mut self, source: Source, most: usize) -> Result<Option<usize>, Full> {
        self.forget_those_who_left();
        let waiting = self.sources.iter().map(|(_, waiting)| waiting.len());
        if waiting.clone().sum::<usize>() < most {
            return Ok(None);
        }
        let own = self.sources.iter().find(|(known, _)| *known == source);
        let own = own.map_or(0, |(_, waiting)| waiting.len());
        let largest = waiting.enumerate().max_by_key(|(_, length)| *length);
        match largest {
            Some((at, length)) if length > own + 1 => Ok(Some(at)),
            _ => Err(Full),
        }
    }

    fn forget_those_who_left(&mut self) {
        self.sources.retain_mut(|(_, waiting)| {
            waiting.retain(|sender| !sender.is_closed());
            !waiting.is_empty()
        });
    }

    fn evict(&mut self, at: usize) {
        // It has two at least.
        self.sources[at].1.pop_back();
    }

    fn wait(&mut self, source: Source) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let known = self.sources.iter_mut().find(|(known, _)| *known == source);
        match known {
            Some((_, waiting)) => waiting.push_back(sender),
            None => self.sources.push_back((source, [sender].into())),
        }
        receiver
    }

    /// The first of the source whose turn it is, which goes behind the others.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (source, mut waiting) = self.sources.pop_front()?;
        let next = waiting.pop_front();
        if !waiting.is_empty() {
            self.sources.push_back((source, waiting));
        }
        next
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

    const A: Source = Some(1);
    const B: Source = Some(2);

    fn start(
        turns: &Turns,
        source: Source,
    ) -> std::pin::Pin<Box<impl Future<Output = Result<Turn, Full>>>> {
        let mut taking = Box::pin(turns.take(source));
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
