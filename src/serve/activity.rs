use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Version;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::connection::places::{self, Idle};

/// How long a connection may keep the server waiting while nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    pub(super) first_byte: Duration,
    pub(super) head: Duration,
    pub(super) idle: Duration,
}

impl Deadlines {
    pub(super) fn shortest(&self) -> Duration {
        self.first_byte.min(self.head).min(self.idle)
    }

    pub(super) fn no_longer_than(self, longest: Duration) -> Self {
        Self {
            first_byte: self.first_byte.min(longest),
            head: self.head.min(longest),
            idle: self.idle.min(longest),
        }
    }
}

/// What happens on a connection, as far as its deadlines depend on it.
#[derive(Debug)]
pub(super) struct Activity {
    /// Whether the next byte that is read begins something. Read with each read, so apart from the rest.
    awaits: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests in flight, and a write that waits for the client.
    busy: usize,
    /// Since when nothing is in flight.
    rests: Instant,
    /// When the first byte came of the head that is awaited.
    head: Option<Instant>,
    /// Whether a whole head has come.
    heard: bool,
    multiplexed: bool,
    /// What a client asked for and did not get, and hyper keeps the connection for until its end.
    declined: Option<OnUpgrade>,
}

/// Something in flight on a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    /// What it counts as for its source.
    _share: Option<places::Request>,
}

/// What a connection that has nothing in flight waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    FirstByte,
    Head,
    NextRequest,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            awaits: AtomicBool::new(true),
            state: Mutex::new(State {
                busy: 0,
                rests: Instant::now(),
                head: None,
                heard: false,
                multiplexed: false,
                declined: None,
            }),
        })
    }

    /// Notes that the connection is set up: what was before is not the client's silence.
    pub(super) fn begin(&self) {
        self.lock().rests = Instant::now();
    }

    /// Notes that bytes were read.
    pub(super) fn read(&self) {
        if self.awaits.load(Ordering::Relaxed) && self.awaits.swap(false, Ordering::Relaxed) {
            let mut state = self.lock();
            if state.busy == 0 {
                state.head.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Notes that a request has begun, which counts as `share` for its source. Returns whether it is the first of
    /// its connection.
    pub(super) fn begin_request(
        self: &Arc<Self>,
        version: Version,
        share: Option<places::Request>,
    ) -> (InFlight, bool) {
        let mut state = self.lock();
        state.busy += 1;
        state.head = None;
        state.multiplexed |= version == Version::HTTP_2;
        let first = !std::mem::replace(&mut state.heard, true);
        (self.in_flight(share), first)
    }

    /// Notes that a write waits for the client: the answer is not with it yet.
    pub(super) fn begin_write(self: &Arc<Self>) -> InFlight {
        self.lock().busy += 1;
        self.in_flight(None)
    }

    /// What the client is awaited for, and until when. `None` while something is in flight.
    pub(super) fn awaited(&self, deadlines: &Deadlines) -> Option<(Instant, Awaited)> {
        let state = self.lock();
        if state.busy > 0 {
            return None;
        }
        Some(match state.head {
            // What comes over HTTP/2 between requests need not be the head of one: a client may send pings
            // for ever.
            Some(begun) if !state.multiplexed => (begun + deadlines.head, Awaited::Head),
            _ if state.heard => (state.rests + deadlines.idle, Awaited::NextRequest),
            _ => (state.rests + deadlines.first_byte, Awaited::FirstByte),
        })
    }

    /// What takes the connection at its end, if a client asked for another protocol in vain.
    pub(super) fn declined(&self) -> Option<OnUpgrade> {
        self.lock().declined.take()
    }

    fn in_flight(self: &Arc<Self>, share: Option<places::Request>) -> InFlight {
        InFlight {
            activity: Arc::clone(self),
            _share: share,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlight {
    /// Notes that the request asked for another protocol in vain.
    pub(super) fn decline(&self, upgrade: OnUpgrade) {
        self.activity.lock().declined = Some(upgrade);
    }
}

impl Idle for Activity {
    /// A connection on which there was no request is not idle.
    fn idle_for(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        (state.busy == 0 && state.heard).then(|| now.duration_since(state.rests))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.busy = state.busy.saturating_sub(1);
        if state.busy == 0 {
            state.rests = Instant::now();
            self.activity.awaits.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINES: Deadlines = Deadlines {
        first_byte: Duration::from_secs(1),
        head: Duration::from_secs(2),
        idle: Duration::from_secs(10),
    };

    async fn pass(seconds: u64) -> Instant {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_deadline_and_none_counts_while_something_is_in_flight() {
        let activity = Activity::new();
        let begun = Instant::now();
        let awaited = || activity.awaited(&DEADLINES);
        assert_eq!(
            awaited(),
            Some((begun + DEADLINES.first_byte, Awaited::FirstByte))
        );
        let heard = pass(1).await;
        activity.read();
        pass(1).await;
        activity.read();
        assert_eq!(awaited(), Some((heard + DEADLINES.head, Awaited::Head)));
        let (request, first) = activity.begin_request(Version::HTTP_11, None);
        assert!(first && awaited().is_none());
        assert_eq!(activity.idle_for(Instant::now()), None);
        let write = activity.begin_write();
        drop(request);
        assert_eq!(awaited(), None);
        let over = pass(100).await;
        drop(write);
        assert_eq!(
            awaited(),
            Some((over + DEADLINES.idle, Awaited::NextRequest))
        );
        let next = pass(3).await;
        assert_eq!(activity.idle_for(next), Some(Duration::from_secs(3)));
        activity.read();
        assert_eq!(awaited(), Some((next + DEADLINES.head, Awaited::Head)));
        let (_, first) = activity.begin_request(Version::HTTP_11, None);
        assert!(!first);
    }

    #[tokio::test(start_paused = true)]
    async fn neither_a_handshake_nor_what_comes_during_a_write_counts_as_waiting() {
        let activity = Activity::new();
        let awaited = || activity.awaited(&DEADLINES);
        let begun = pass(5).await;
        activity.begin();
        let first_byte = begun + DEADLINES.first_byte;
        assert_eq!(awaited(), Some((first_byte, Awaited::FirstByte)));
        // Without a request it is not idle, however long nothing comes.
        assert_eq!(activity.idle_for(pass(5).await), None);
        drop(activity.begin_request(Version::HTTP_11, None));
        let write = activity.begin_write();
        activity.read();
        let over = pass(5).await;
        drop(write);
        let idle = over + DEADLINES.idle;
        assert_eq!(awaited(), Some((idle, Awaited::NextRequest)));
    }

    #[tokio::test(start_paused = true)]
    async fn pings_do_not_make_an_idle_connection_of_http_2_live_longer() {
        let activity = Activity::new();
        let (request, _) = activity.begin_request(Version::HTTP_2, None);
        drop(request);
        let rests = Instant::now();
        pass(5).await;
        activity.read();
        let awaited = activity.awaited(&DEADLINES);
        assert_eq!(
            awaited,
            Some((rests + DEADLINES.idle, Awaited::NextRequest))
        );
    }
}
