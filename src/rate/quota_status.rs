/// Whether a request may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "what is counted here is always known")
)]
pub(super) enum QuotaStatus {
    Open,
    Exhausted,
    /// The fleet's server does not answer, and the operator chose to refuse then.
    Unavailable,
    /// The fleet's server has to be asked.
    Unknown,
}
