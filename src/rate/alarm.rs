use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::gate::Gate;

/// How late whoever is next may come before others are asked to look.
const PATIENCE: Duration = Duration::from_millis(8);

/// Wakes whoever is next at a gate when it is their turn, and others if they do not come: the
/// client of who is next may have stopped reading.
#[derive(Debug)]
pub(super) struct Alarm {
    next: Pin<Box<Sleep>>,
    others: Pin<Box<Sleep>>,
    bell: Waker,
    set: Option<(usize, Instant)>,
}

#[derive(Debug)]
struct Bell(Weak<Gate>);

impl Alarm {
    pub(super) fn new(gate: &Arc<Gate>, now: Instant) -> Self {
        Self {
            next: Box::pin(sleep_until(now)),
            others: Box::pin(sleep_until(now)),
            bell: Waker::from(Arc::new(Bell(Arc::downgrade(gate)))),
            set: None,
        }
    }

    /// Whether it is set for this stream and instant.
    pub(super) fn is_set(&self, stream: usize, when: Instant) -> bool {
        self.set == Some((stream, when))
    }

    /// Will wake `waker` at `when`. Whether that is now.
    pub(super) fn set(&mut self, stream: usize, when: Instant, waker: &Waker) -> bool {
        self.set = Some((stream, when));
        // New ones rather than resets: the old ones may belong to a runtime that is gone.
        self.others.set(sleep_until(when + PATIENCE));
        let bell = &mut Context::from_waker(&self.bell);
        // It cannot be that late already.
        let _ = self.others.as_mut().poll(bell);
        self.next.set(sleep_until(when));
        let cx = &mut Context::from_waker(waker);
        self.next.as_mut().poll(cx).is_ready()
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
