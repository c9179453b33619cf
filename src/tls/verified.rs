use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};

use super::anchors::Known;
use crate::PeerIdentity;
use crate::util::bounded_cache::BoundedCache;

/// A client's certificate with the path that webpki found for it, and while when it holds.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) identity: PeerIdentity,
    /// As the client sent it.
    pub(super) chain: Box<[CertificateDer<'static>]>,
    pub(super) anchor: Arc<Known>,
    #[cfg(feature = "crl")]
    pub(super) path: crate::crl::CertPath,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
}

/// A certificate that passed all that is asked of one now.
#[derive(Clone, Debug)]
pub(super) struct Passed {
    pub(super) verified: Arc<Verified>,
    /// Its revocation, to follow; `None` without CRLs.
    #[cfg(feature = "crl")]
    pub(super) tracked: Option<crate::crl::Tracked>,
}

impl Verified {
    /// How many bytes the chain has.
    pub(super) fn bytes(&self) -> usize {
        self.chain.iter().map(|der| der.len()).sum()
    }

    pub(super) fn holds_at(&self, now: UnixTime) -> bool {
        (self.not_before..=self.not_after).contains(&now.as_secs())
    }
}

/// A digest of what a client sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ChainKey([u8; 32]);

impl ChainKey {
    pub(super) fn of(end_entity: &[u8], intermediates: &[CertificateDer<'_>]) -> Self {
        let mut digest = Sha256::new();
        for der in std::iter::once(end_entity).chain(intermediates.iter().map(AsRef::as_ref)) {
            // The length keeps the border of two certificates where it is.
            digest.update(der.len().to_be_bytes());
            digest.update(der);
        }
        Self(digest.finalize().into())
    }
}

/// The chains that were verified lately under one set of anchors. A path depends on the chain, the
/// anchors and the time only; so a client that comes again needs no signature of its chain checked
/// again. Only what was verified gets in, and revocation is looked at each time.
#[derive(Debug)]
pub(super) struct Cache(Mutex<BoundedCache<ChainKey, Arc<Verified>>>);

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self(Mutex::new(BoundedCache::new(capacity)))
    }

    pub(super) fn get(&self, key: ChainKey, now: UnixTime) -> Option<Arc<Verified>> {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.get(&key).filter(|found| found.holds_at(now))?;
        Some(Arc::clone(found))
    }

    pub(super) fn insert(&self, key: ChainKey, verified: Arc<Verified>) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(key, verified);
    }
}
