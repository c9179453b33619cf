//! Every metric of the crate is named here and nowhere else. Without the feature `metrics` each
//! function does nothing.
#![cfg_attr(not(feature = "metrics"), allow(clippy::missing_const_for_fn))]

use crate::Refusal;

pub(crate) fn refused(refusal: Refusal) {
    #[cfg(feature = "metrics")]
    metrics::counter!("portcullis_refusals_total", "reason" => refusal.label()).increment(1);
    #[cfg(not(feature = "metrics"))]
    let _ = refusal;
}

pub(crate) fn reloaded(what: &'static str, ok: bool) {
    #[cfg(feature = "metrics")]
    {
        let outcome = if ok { "ok" } else { "failed" };
        metrics::counter!("portcullis_reloads_total", "what" => what, "outcome" => outcome)
            .increment(1);
    }
    #[cfg(not(feature = "metrics"))]
    let _ = (what, ok);
}

#[cfg(feature = "metrics")]
pub(super) fn ended_early(outcome: &'static str) {
    metrics::counter!("portcullis_requests_unfinished_total", "outcome" => outcome).increment(1);
}
