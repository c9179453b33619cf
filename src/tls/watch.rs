use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Material;
use super::verified::Verified;
use crate::Watched;

/// Resolves once the certificate of a connection is no longer good.
pub(super) type Gone = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What can end a certificate's goodness after the handshake.
pub(super) struct Watch {
    verified: Arc<Verified>,
    #[cfg(feature = "crl")]
    tracked: Option<crate::crl::Tracked>,
    material: Option<Watched<Material>>,
}

impl Watch {
    pub(super) fn new(verified: Arc<Verified>) -> Self {
        Self {
            verified,
            #[cfg(feature = "crl")]
            tracked: None,
            material: None,
        }
    }

    #[cfg(feature = "crl")]
    pub(super) fn revocation(mut self, tracked: crate::crl::Tracked) -> Self {
        self.tracked = Some(tracked);
        self
    }

    pub(super) fn anchors(mut self, material: &Watched<Material>) -> Self {
        self.material = Some(material.clone());
        self
    }

    /// `None` where nothing is watched.
    pub(super) fn until_gone(self) -> Option<Gone> {
        let watched = self.material.is_some();
        #[cfg(feature = "crl")]
        let watched = watched || self.tracked.is_some();
        watched.then(|| Box::pin(self.gone()) as Gone)
    }

    async fn gone(self) {
        let removed = removed(&self.verified, self.material.as_ref());
        #[cfg(feature = "crl")]
        tokio::select! {
            () = removed => {}
            () = revoked(self.tracked.as_ref()) => {}
        }
        #[cfg(not(feature = "crl"))]
        removed.await;
    }
}

#[cfg(feature = "crl")]
async fn revoked(tracked: Option<&crate::crl::Tracked>) {
    match tracked {
        Some(tracked) => {
            tracked.revoked().await;
        }
        None => std::future::pending().await,
    }
}

/// Resolves once no path leads to a client CA any more.
async fn removed(verified: &Verified, material: Option<&Watched<Material>>) {
    let Some(material) = material else {
        return std::future::pending().await;
    };
    let mut changes = material.changes();
    loop {
        if !still_trusted(verified, &material.load()) {
            return;
        }
        if changes.changed().await.is_err() {
            // Nobody is left to publish another material.
            std::future::pending::<()>().await;
        }
    }
}

fn still_trusted(verified: &Verified, material: &Material) -> bool {
    let Some(checks) = &material.verifier else {
        return true;
    };
    if checks.anchors().contains(&verified.anchor) {
        return true;
    }
    let [end_entity, intermediates @ ..] = &*verified.chain else {
        return false;
    };
    material
        .now()
        .is_some_and(|now| checks.verify(end_entity, intermediates, now).is_ok())
}
