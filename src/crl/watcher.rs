use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::Tracked;
use crate::connection::RequestInFlight;
use crate::middleware::Watch;
use crate::record::{Cut, Record};

/// Ends a body once its peer's certificate is no longer good, even while it waits for its next frame.
pub(super) struct Watcher {
    tracked: Tracked,
    record: Option<Record>,
    ended: bool,
    /// Until it is dropped the acceptor takes the connection for busy.
    in_flight: Option<RequestInFlight>,
    /// Made when a frame is first waited for: most bodies never wait.
    gone: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

/// A body that is let go before its end: the connection under it may have been closed because of
/// the revocation, before the body was asked for its next frame.
impl Drop for Watcher {
    fn drop(&mut self) {
        if !self.ended && self.is_gone() {
            self.cut();
        }
    }
}

impl Watcher {
    pub(super) fn new(tracked: Tracked, record: Option<Record>) -> Self {
        Self {
            tracked,
            record,
            ended: false,
            in_flight: None,
            gone: None,
        }
    }

    /// Keeps the request in flight for as long as it watches.
    pub(super) fn holding(mut self, request: RequestInFlight) -> Self {
        self.in_flight = Some(request);
        self
    }

    fn is_gone(&self) -> bool {
        !self.tracked.is_good() && self.tracked.verdict().refusal().is_some()
    }

    fn cut(&self) -> Cut {
        if let Some(record) = &self.record {
            record.cut(Cut::Revoked);
            record.explained(self.tracked.verdict().to_string());
        }
        Cut::Revoked
    }
}

impl Watch for Watcher {
    fn check(&mut self) -> Result<(), Cut> {
        if self.is_gone() {
            return Err(self.cut());
        }
        Ok(())
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Cut> {
        let tracked = &self.tracked;
        let gone = self.gone.get_or_insert_with(|| {
            let tracked = tracked.clone();
            Box::pin(async move {
                tracked.revoked().await;
            })
        });
        ready!(gone.as_mut().poll(cx));
        Poll::Ready(self.cut())
    }

    /// Whatever becomes of the certificate now.
    fn ended(mut self: Box<Self>) {
        self.ended = true;
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}
