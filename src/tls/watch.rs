use std::future::Future;
use std::pin::Pin;

use super::standing::Standing;

/// Resolves once the certificate of a connection is no longer good.
pub(super) type Gone = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What can end a certificate's goodness after the handshake.
pub(super) struct Watch {
    standing: Standing,
    #[cfg(feature = "crl")]
    tracked: Option<crate::crl::Tracked>,
}

impl Watch {
    pub(super) fn new(standing: Standing) -> Self {
        Self {
            standing,
            #[cfg(feature = "crl")]
            tracked: None,
        }
    }

    #[cfg(feature = "crl")]
    pub(super) fn revocation(mut self, tracked: crate::crl::Tracked) -> Self {
        self.tracked = Some(tracked);
        self
    }

    pub(super) fn until_gone(self) -> Gone {
        Box::pin(self.gone())
    }

    async fn gone(self) {
        #[cfg(feature = "crl")]
        if let Some(tracked) = &self.tracked {
            tokio::select! {
                () = self.standing.ended() => {}
                _ = tracked.revoked() => {}
            }
            return;
        }
        self.standing.ended().await;
    }
}
