use std::fmt::Debug;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use crate::record::Cut;

/// What a [`Body`](super::Body) does besides passing frames on. What is not there costs nothing.
///
/// In the order in which they are dropped: a pace notes how long the body was held back, a watch why it
/// was cut, and the count, which writes the log, comes after both.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) pace: Option<Box<dyn Pace>>,
    pub(crate) watch: Option<Box<dyn Watch>>,
    pub(crate) copy: Option<Box<dyn Observe>>,
    pub(crate) count: Option<Box<dyn Observe>>,
}

/// Holds a body to a pace.
pub(crate) trait Pace: Debug + Send + Sync {
    /// Notes that the consumer asks for a frame.
    ///
    /// # Errors
    /// The transfer was ended meanwhile.
    fn asked(&mut self) -> Result<(), Cut>;

    /// Waits until some of the `held` bytes may pass, counts those as passed and returns their number, 1
    /// at least. At most `rest` bytes are to come, those included.
    ///
    /// # Errors
    /// The transfer is to be ended.
    fn poll_pass(&mut self, cx: &mut Context<'_>, held: u64, rest: u64) -> Poll<Result<u64, Cut>>;

    /// Notes how the body ended: what is reserved for it is for others.
    fn ended(&mut self, end: End);
}

/// Ends a body.
pub(crate) trait Watch: Debug + Send + Sync {
    /// Asks before each frame.
    ///
    /// # Errors
    /// The transfer is to be ended.
    fn check(&mut self) -> Result<(), Cut>;

    /// Asks while a frame is waited for.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Cut>;

    /// Notes that the body ended by itself.
    fn ended(self: Box<Self>);
}

/// Sees what passes. Dropped without [`Observe::ended`], the consumer has let go of the body.
pub(crate) trait Observe: Debug + Send + Sync {
    /// Says that the body is being polled, or no more. A panic leaves it said.
    fn polling(&mut self, _polled: bool) {}

    /// Sees data that is handed to the consumer.
    fn data(&mut self, data: &Bytes);

    /// Notes how the body ended.
    fn ended(self: Box<Self>, end: End);
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The last frame is handed over.
    Finished,
    /// By an error.
    Failed,
}

impl Parts {
    #[inline]
    pub(super) fn are_none(&self) -> bool {
        self.pace.is_none() && self.watch.is_none() && self.copy.is_none() && self.count.is_none()
    }

    #[inline]
    pub(super) fn polling(&mut self, polled: bool) {
        if let Some(count) = &mut self.count {
            count.polling(polled);
        }
    }

    /// Shows the observers what is handed to the consumer. `last`: no frame follows, `complete`: no data.
    pub(super) fn passed<E>(
        &mut self,
        frame: Option<&Result<Frame<Bytes>, E>>,
        last: bool,
        complete: bool,
    ) {
        if let Some(data) = frame.and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            for observer in [&mut self.copy, &mut self.count].into_iter().flatten() {
                observer.data(data);
            }
        }
        let (end, complete) = match frame {
            Some(Err(_)) => (Some(End::Failed), true),
            Some(Ok(_)) if !last => (None, complete),
            _ => (Some(End::Finished), true),
        };
        // Before the last byte is handed over: with it the client knows what to ask for next.
        if complete && let Some(copy) = self.copy.take() {
            copy.ended(end.unwrap_or(End::Finished));
        }
        if let Some(end) = end
            && let Some(count) = self.count.take()
        {
            count.ended(end);
        }
    }
}
