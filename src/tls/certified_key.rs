use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use super::{CertificateFiles, TlsError, time};
use crate::PeerIdentity;
use crate::reload::Pinned;

pub(super) fn certified_key(
    files: &CertificateFiles,
    pinned: &mut Pinned,
    provider: &CryptoProvider,
    now: SystemTime,
    previous: Option<&CertifiedKey>,
) -> Result<(Arc<CertifiedKey>, PeerIdentity), TlsError> {
    let (chain, key) = files.pair(pinned, provider, previous)?;
    let leaf = chain.first().ok_or_else(|| TlsError::NoCertificate {
        path: files.chain.clone(),
    })?;
    let identity = PeerIdentity::from_der(leaf).map_err(|source| TlsError::Certificate {
        path: files.chain.clone(),
        source,
    })?;
    valid_now(files, &identity, now)?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) if files.is_bundle() => {
            TlsError::BundleMismatch {
                path: files.chain.clone(),
            }
        }
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch {
            certificate: files.chain.clone(),
            key: files.key.clone(),
        },
        error => TlsError::Key {
            path: files.key.clone(),
            reason: match error {
                rustls::Error::General(reason) => reason,
                error => error.to_string(),
            },
        },
    })?;
    Ok((Arc::new(certified), identity))
}

fn valid_now(
    files: &CertificateFiles,
    identity: &PeerIdentity,
    now: SystemTime,
) -> Result<(), TlsError> {
    let path = files.chain.clone();
    let subject = identity.subject().to_owned();
    if identity.not_after() < identity.not_before() {
        return Err(TlsError::NeverValid { path, subject });
    }
    if let Ok(since) = now.duration_since(identity.not_after())
        && !since.is_zero()
    {
        let ago = time::words(since);
        return Err(TlsError::Expired { path, subject, ago });
    }
    if let Ok(until) = identity.not_before().duration_since(now)
        && !until.is_zero()
    {
        let until = time::words(until);
        return Err(TlsError::NotYetValid {
            path,
            subject,
            until,
        });
    }
    Ok(())
}
