use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

tokio::task_local! {
    static TASK: Aborter;
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
        task: Aborter,
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
        Self {
            inner,
            task: Aborter::default(),
        }
    }
}

impl<F: Future> Future for AbortSlow<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let this = self.project();
        if this.task.is_aborted(cx) {
            return Poll::Ready(None);
        }
        let task = this.task.clone();
        TASK.sync_scope(task, || this.inner.poll(cx)).map(Some)
    }
}

impl Aborter {
    /// That of the task which is polled now, if it can be ended.
    pub(super) fn current() -> Option<Self> {
        TASK.try_with(Clone::clone).ok()
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
