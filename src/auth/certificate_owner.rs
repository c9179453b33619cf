use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use http::Extensions;

use crate::identity::Mapping;
use crate::{Connection, PeerIdentity, Principal, Watched};

/// Makes principals of the owners of certificates.
#[derive(Clone, Debug)]
pub(super) struct CertificateOwners {
    /// Tells what these rules made from what others made on the same connection.
    id: u64,
    mapping: Watched<Mapping>,
}

/// Who the owner of a connection's certificate was found to be, kept with the connection: rules
/// take longer than all the rest of a decision, and connections have many requests.
#[derive(Debug, Default)]
struct CertificateOwner(ArcSwapOption<Found>);

#[derive(Debug)]
struct Found {
    by: u64,
    generation: u64,
    principal: Principal,
}

impl CertificateOwners {
    pub(super) fn new(mapping: Watched<Mapping>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            mapping,
        }
    }

    /// The owner of the certificate of the request with these extensions.
    pub(super) fn principal(&self, peer: &PeerIdentity, extensions: &Extensions) -> Principal {
        let mapping = self.mapping.load();
        let owner = Connection::of(extensions).and_then(Connection::kept);
        let Some(CertificateOwner(kept)) = owner else {
            return mapping.principal(peer);
        };
        if let Some(found) = &*kept.load()
            && found.by == self.id
            && found.generation == mapping.generation()
            && found.principal.peer().is_some_and(|known| known.is(peer))
        {
            return found.principal.clone();
        }
        let principal = mapping.principal(peer);
        kept.store(Some(Arc::new(Found {
            by: self.id,
            generation: mapping.generation(),
            principal: principal.clone(),
        })));
        principal
    }
}
