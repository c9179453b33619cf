use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled once, and again only after it was woken itself. The task of a connection is woken for
/// each read and write; what it seldom waits for besides costs an atomic load then.
pub(crate) struct OnWake<F> {
    future: F,
    signal: Arc<Signal>,
    /// What the future is polled with.
    waker: Waker,
    /// The task that the signal wakes, as far as it is known here.
    task: Option<Waker>,
}

struct Signal {
    is_woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let task = task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<F: Future + Unpin> OnWake<F> {
    pub(crate) fn new(future: F) -> Self {
        let signal = Arc::new(Signal {
            is_woken: AtomicBool::new(true),
            task: Mutex::new(None),
        });
        Self {
            future,
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            task: None,
        }
    }

    #[inline]
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<F::Output> {
        let task = cx.waker();
        if !self
            .task
            .as_ref()
            .is_some_and(|known| known.will_wake(task))
        {
            self.moved_to(task);
        }
        if !self.signal.is_woken.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.poll_woken()
    }

    // Before the look whether it was woken: a wake-up in between reaches the one or is seen by the other.
    fn moved_to(&mut self, task: &Waker) {
        let known = self.signal.task.lock();
        *known.unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
        self.task = Some(task.clone());
    }

    fn poll_woken(&mut self) -> Poll<F::Output> {
        // Before the poll: what wakes it meanwhile is not lost.
        self.signal.is_woken.store(false, Ordering::Release);
        let mut cx = Context::from_waker(&self.waker);
        Pin::new(&mut self.future).poll(&mut cx)
    }
}

impl<F> fmt::Debug for OnWake<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnWake").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::{Notify, oneshot};

    use super::*;

    #[tokio::test]
    async fn a_future_is_polled_only_when_it_was_woken() {
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let (send, receive) = oneshot::channel::<u8>();
        let mut receive = Box::pin(receive);
        let mut waiting = OnWake::new(poll_fn(move |cx| {
            counted.fetch_add(1, Ordering::Relaxed);
            receive.as_mut().poll(cx)
        }));
        for _ in 0..10 {
            let polled = poll_fn(|cx| Poll::Ready(waiting.poll(cx))).await;
            assert!(polled.is_pending());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        send.send(7).unwrap();
        assert_eq!(poll_fn(|cx| waiting.poll(cx)).await.unwrap(), 7);
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_task_that_polled_last_is_woken() {
        let (send, receive) = oneshot::channel::<u8>();
        let mut waiting = OnWake::new(receive);
        let moved = Arc::new(Notify::new());
        // Polled by this task first, then by another, which must be the one that goes on.
        assert!(poll_fn(|cx| Poll::Ready(waiting.poll(cx).is_pending())).await);
        let told = Arc::clone(&moved);
        let other = tokio::spawn(async move {
            poll_fn(move |cx| {
                let polled = waiting.poll(cx);
                told.notify_one();
                polled
            })
            .await
        });
        moved.notified().await;
        send.send(7).unwrap();
        assert_eq!(other.await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn a_future_that_wakes_itself_while_it_is_polled_is_polled_again() {
        let mut left = 3;
        let mut waiting = OnWake::new(poll_fn(move |cx| {
            left -= 1;
            cx.waker().wake_by_ref();
            if left == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        poll_fn(|cx| waiting.poll(cx)).await;
    }
}
