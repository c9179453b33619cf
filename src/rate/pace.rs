use std::task::{Context, Poll, ready};

use super::pacer::Pacer;
use super::watcher::Stay;
use crate::middleware::{End, Pace};
use crate::record::Cut;

/// One body's limits, and what it keeps until it is dropped or its reader is too slow.
#[derive(Debug)]
pub(super) struct Paced {
    pacer: Option<Pacer>,
    stay: Stay,
}

impl Paced {
    pub(super) fn new(pacer: Option<Pacer>, stay: Stay) -> Self {
        Self { pacer, stay }
    }
}

impl Pace for Paced {
    fn asked(&mut self) -> Result<(), Cut> {
        self.stay.polled()
    }

    fn poll_pass(&mut self, cx: &mut Context<'_>, held: u64, rest: u64) -> Poll<Result<u64, Cut>> {
        if let Err(cut) = self.stay.judge() {
            self.pacer = None;
            return Poll::Ready(Err(cut));
        }
        let passes = match &mut self.pacer {
            Some(pacer) => match ready!(pacer.poll_send(cx, held, rest)) {
                Ok(passes) => passes,
                Err(cut) => return Poll::Ready(Err(cut)),
            },
            None => held,
        };
        self.stay.sent(passes);
        Poll::Ready(Ok(passes))
    }

    fn ended(&mut self, end: End) {
        // What was reserved beyond the end is for others.
        self.pacer = None;
        if end == End::Finished {
            self.stay.finished();
        }
    }
}
