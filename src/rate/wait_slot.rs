/// A stream's place in a limiter's queue.
#[derive(Debug, Default)]
pub(super) struct WaitSlot {
    pub(super) stream: Option<usize>,
    pub(super) asking: bool,
}

impl WaitSlot {
    /// Whether the stream waits in the queue.
    pub(super) fn is_asking(&self) -> bool {
        self.asking
    }
}
