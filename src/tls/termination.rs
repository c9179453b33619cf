use std::future::Future;
use std::pin::Pin;

use super::liveness::Liveness;
use crate::util::on_wake::OnWake;

/// Resolves once the certificate of a connection is no longer good. The stream looks for that at each read and
/// write.
pub(super) type Termination = OnWake<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// What can end a certificate's goodness after the handshake.
pub(super) struct TerminationWatch {
    liveness: Liveness,
    #[cfg(feature = "crl")]
    tracked: Option<crate::crl::Tracked>,
}

impl TerminationWatch {
    pub(super) fn new(liveness: Liveness) -> Self {
        Self {
            liveness,
            #[cfg(feature = "crl")]
            tracked: None,
        }
    }

    #[cfg(feature = "crl")]
    pub(super) fn revocation(mut self, tracked: crate::crl::Tracked) -> Self {
        self.tracked = Some(tracked);
        self
    }

    pub(super) fn until_terminated(self) -> Termination {
        OnWake::new(Box::pin(self.terminated()))
    }

    async fn terminated(self) {
        #[cfg(feature = "crl")]
        if let Some(tracked) = &self.tracked {
            tokio::select! {
                () = self.liveness.ended() => {}
                _ = tracked.revoked() => {}
            }
            return;
        }
        self.liveness.ended().await;
    }
}
