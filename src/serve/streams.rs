use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::telemetry::metrics;
use crate::util::deadline::Deadline;

tokio::task_local! {
    /// Whether the task that is polled handed the client something of an answer when it last looked for some;
    /// `None` where it has not looked in this poll.
    static HANDED: Cell<Option<bool>>;
}

/// Spawns the streams of an HTTP/2 connection, and ends one whose client takes nothing of the answer for too
/// long: over HTTP/2 that blocks no write, the stream's window is closed.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) stall_timeout: Duration,
}

pin_project! {
    struct Stream<F> {
        #[pin]
        inner: F,
        // Since when the client is to take what it was handed, until more of it is looked for.
        handed: Option<Instant>,
        stall_timeout: Duration,
        deadline: Deadline,
    }
}

/// Notes that the body of an answer was polled, and whether it gave something for the client.
pub(super) fn answered(gave: bool) {
    // Over HTTP/1.1 there is no stream, and a client that takes nothing blocks the write.
    let _ = HANDED.try_with(|handed| handed.set(Some(gave)));
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        // One whose client reads more slowly than a limit asks for is ended too.
        #[cfg(feature = "rate")]
        let stream = crate::rate::AbortSlow::new(stream);
        tokio::spawn(Stream {
            inner: stream,
            handed: None,
            stall_timeout: self.stall_timeout,
            deadline: Deadline::default(),
        });
    }
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let inner = this.inner;
        let (polled, gave) = HANDED.sync_scope(Cell::new(None), || {
            let polled = inner.poll(cx);
            (polled, HANDED.with(Cell::get))
        });
        if polled.is_ready() {
            return Poll::Ready(());
        }
        if let Some(gave) = gave {
            *this.handed = gave.then(Instant::now);
        }
        let Some(handed) = *this.handed else {
            return Poll::Pending;
        };
        let end = handed + *this.stall_timeout;
        if this.deadline.poll(cx, end).is_pending() {
            return Poll::Pending;
        }
        metrics::stream_stalled();
        tracing::info!(
            "the client has taken nothing of an answer for too long, resetting its stream"
        );
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const STALL: Duration = Duration::from_secs(10);

    /// How many seconds a stream lives that does this.
    async fn lives(inner: impl Future) -> f64 {
        let begun = Instant::now();
        let stream = Stream {
            inner,
            handed: None,
            stall_timeout: STALL,
            deadline: Deadline::default(),
        };
        stream.await;
        begun.elapsed().as_secs_f64().round()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_once_nothing_was_taken_for_so_long() {
        // What is taken meanwhile begins the time anew.
        let slow = async {
            for _ in 0..5 {
                answered(true);
                sleep(STALL * 6 / 10).await;
            }
            answered(true);
            pending::<()>().await;
        };
        assert!((lives(slow).await - 40.0).abs() < 1.0);
        // What the service holds back is not the client's to take.
        let held_back = async {
            answered(true);
            sleep(STALL / 2).await;
            answered(false);
            sleep(STALL * 5).await;
        };
        assert!((lives(held_back).await - 55.0).abs() < 1.0);
        assert!((lives(sleep(STALL * 5)).await - 50.0).abs() < 1.0);
    }
}
