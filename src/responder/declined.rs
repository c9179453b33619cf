use http::Request;

use crate::Refusal;
use crate::oci::Route;
use crate::record::Record;
use crate::telemetry::metrics;

/// What does not let a blob be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    /// The policy does not let the caller pull where the blob is.
    #[cfg(feature = "policy")]
    Policy,
    /// The repository is not known to lead to the blob.
    #[cfg(feature = "digest-binding")]
    Digest,
    /// The caller's token does not grant to pull where the blob is.
    #[cfg(feature = "jwt")]
    Token,
}

impl Declined {
    /// The reason as a closed-set label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            #[cfg(feature = "policy")]
            Self::Policy => "policy",
            #[cfg(feature = "digest-binding")]
            Self::Digest => "digest",
            #[cfg(feature = "jwt")]
            Self::Token => "token",
        }
    }
}

/// Takes a mount off the request, which goes on as an ordinary upload: containerd's push ends at a 403.
/// Noted in the request's [`Record`] and counted.
pub(crate) fn decline_mount<B>(
    request: &mut Request<B>,
    reason: Declined,
    why: String,
) -> Result<(), Refusal> {
    if let Some(record) = Record::of(request.extensions()) {
        record.mount_declined(why);
    }
    metrics::mount_declined(reason.label());
    Route::decline_mount(request).map_err(Refusal::from)
}
