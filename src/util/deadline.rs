use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// An alarm for an end that is put off far more often than it comes: by each write, or by each frame. The timer is set
/// anew only where it rings too early, so that to put the end off costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Deadline(Option<Pin<Box<Sleep>>>);

impl Deadline {
    /// Polls for `end`, which is no sooner than that of any call before.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, end: Instant) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(end)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= end {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_that_was_put_off_comes_at_its_new_time_and_not_before() {
        let mut deadline = Deadline::default();
        let begun = Instant::now();
        for seconds in [10, 11, 30] {
            let end = begun + Duration::from_secs(seconds);
            let polled = poll_fn(|cx| Poll::Ready(deadline.poll(cx, end))).await;
            assert!(polled.is_pending());
        }
        let end = begun + Duration::from_secs(30);
        let early = timeout(
            Duration::from_secs(29),
            poll_fn(|cx| deadline.poll(cx, end)),
        );
        assert!(early.await.is_err());
        poll_fn(|cx| deadline.poll(cx, end)).await;
        assert_eq!(Instant::now(), end);
        // It stays over.
        poll_fn(|cx| deadline.poll(cx, end)).await;
        // And begins anew.
        let next = end + Duration::from_secs(5);
        poll_fn(|cx| deadline.poll(cx, next)).await;
        assert_eq!(Instant::now(), next);
    }
}
