use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

tokio::task_local! {
    /// By what the task that is polled can be ended; made when that is first asked for.
    static TASK: RefCell<Option<Aborter>>;
}

pin_project! {
    /// A server's task that ends, with `None`, when a response in it falls below the minimum progress
    /// ([`Limits::with_min_progress`](super::Limits::with_min_progress)).
    ///
    /// hyper asks a response whose client has no window open for no more frames, so the response cannot fail.
    /// What it keeps others from is free all the same and its end is logged, but the stream itself stays open
    /// until the connection ends. In an `AbortSlow` the stream is reset at once: wrap each of the tasks that
    /// hyper spawns for the streams of HTTP/2. Around a connection's own task it ends the connection.
    ///
    /// ```
    /// use std::future::Future;
    ///
    /// use portcullis::rate::AbortSlow;
    ///
    /// /// For `hyper::server::conn::http2::Builder::new`.
    /// #[derive(Clone)]
    /// struct Executor;
    ///
    /// impl<F> hyper::rt::Executor<F> for Executor
    /// where
    ///     F: Future + Send + 'static,
    ///     F::Output: Send,
    /// {
    ///     fn execute(&self, stream: F) {
    ///         tokio::spawn(AbortSlow::new(stream));
    ///     }
    /// }
    /// ```
    #[derive(Debug)]
    pub struct AbortSlow<F> {
        #[pin]
        inner: F,
        task: Option<Aborter>,
    }
}

/// By what a task is ended from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Aborter(Arc<Mutex<AbortState>>);

#[derive(Debug, Default)]
struct AbortState {
    aborted: bool,
    waker: Option<Waker>,
}

impl<F> AbortSlow<F> {
    /// Makes `inner` a task that can be ended.
    pub fn new(inner: F) -> Self {
        Self { inner, task: None }
    }
}

impl<F: Future> Future for AbortSlow<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = self.project();
        let is_aborted = |task: &Option<Aborter>, cx: &Context<'_>| {
            task.as_ref().is_some_and(|task| task.is_aborted(cx))
        };
        if is_aborted(this.task, cx) {
            return Poll::Ready(None);
        }
        let was_known = this.task.is_some();
        let (polled, task) = TASK.sync_scope(RefCell::new(this.task.take()), || {
            let polled = this.inner.poll(cx);
            (polled, TASK.with(RefCell::take))
        });
        *this.task = task;
        // Asking registers the waker by which an abort is noticed.
        if polled.is_pending() && !was_known && is_aborted(this.task, cx) {
            return Poll::Ready(None);
        }
        polled.map(Some)
    }
}

impl Aborter {
    /// That of the task which is polled now, if it can be ended.
    pub(super) fn current() -> Option<Self> {
        let made = TASK.try_with(|task| task.borrow_mut().get_or_insert_default().clone());
        made.ok()
    }

    /// Ends the task.
    pub(super) fn abort(&self) {
        let mut state = self.lock();
        state.aborted = true;
        let waker = state.waker.take();
        // No task is woken under the lock.
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn is_aborted(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.waker = Some(cx.waker().clone()),
        }
        state.aborted
    }

    fn lock(&self) -> MutexGuard<'_, AbortState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
