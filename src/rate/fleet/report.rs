use super::Unreachable;
use crate::rate::options::Quota;
use crate::rate::quota::Span;

/// What a key is judged by.
#[derive(Clone, Copy, Debug)]
pub(in crate::rate) struct QuotaTerms {
    pub(super) quota: Quota,
    pub(super) span: Span,
    pub(super) server: Server,
}

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// It answers, or has not been asked yet.
    Up,
    /// It does not, and so many replicas were seen last.
    Down(Unreachable, u64),
}

/// What the sync has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stir {
    /// The account is to be put on its list.
    pub(super) list: bool,
    /// A request waits or will soon.
    pub(super) urgent: bool,
}

/// What is reported to the server of one key and window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) begins: u64,
    pub(super) ends: u64,
    pub(super) sent: u64,
    pub(super) want: u64,
}

/// What the server said to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What may be sent in the window, what was sent included.
    pub(super) may: u64,
    /// What no replica has a lease of.
    pub(super) left: u64,
    /// How many replicas use the key.
    pub(super) replicas: u64,
}
