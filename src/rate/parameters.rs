use super::schedule::Schedule;

/// At what rate a limiter lets pass, and how it is shared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters {
    pub(super) schedule: Schedule,
    pub(super) burst: u64,
    pub(super) shared: bool,
}
