use crate::record::Cut;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The whole answer was handed over.
    Finished,
    /// The client, or a layer outside of this one, dropped the answer before the end.
    ClientGone,
    /// A layer, or a timeout, ended a transfer in flight.
    Cut(Cut),
    /// The service failed instead of answering.
    ServiceError,
    /// The answer's body failed.
    BodyError,
    /// Something panicked.
    Panicked,
}

impl Outcome {
    /// The outcome as a closed-set label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ClientGone => "client_gone",
            Self::Cut(Cut::Revoked) => "cut_revoked",
            Self::Cut(Cut::TooSlow) => "cut_too_slow",
            Self::Cut(Cut::QuotaExceeded) => "cut_quota_exceeded",
            Self::Cut(Cut::TimedOut) => "timed_out",
            Self::ServiceError => "service_error",
            Self::BodyError => "body_error",
            Self::Panicked => "panicked",
        }
    }
}
