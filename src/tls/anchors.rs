use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use super::material::Expiry;
use super::{ClientCas, TlsError, time};
use crate::PeerIdentity;
use crate::reload::Pinned;

/// The client CAs in force.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    pub(super) trusted: Vec<TrustAnchor<'static>>,
    /// The same in the same order, for connections to keep.
    shared: Vec<Arc<TrustAnchor<'static>>>,
    /// What a server tells clients that it accepts (RFC 8446 §4.2.4).
    pub(super) hints: Vec<DistinguishedName>,
    /// The subjects in RFC 4514 form, for explanations.
    pub(super) subjects: Vec<Box<str>>,
    pub(super) expiries: Vec<Expiry>,
}

impl Anchors {
    /// Reads the bundle. An expired CA is left out with a warning, since webpki would trust it
    /// still; without any other there is none to trust, which is an error.
    pub(super) fn load(
        cas: &ClientCas,
        pinned: &mut Pinned,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let mut anchors = Self::default();
        let mut known = HashSet::new();
        let mut expired = None;
        for (path, der) in cas.read(pinned)? {
            if !known.insert(der.clone()) {
                continue;
            }
            let identity =
                PeerIdentity::from_der(&der).map_err(|source| TlsError::Certificate {
                    path: path.clone(),
                    source,
                })?;
            if let Ok(since) = now.duration_since(identity.not_after()) {
                let ago = time::words(since);
                tracing::warn!(
                    file = %path.display(), subject = identity.subject(), ago,
                    "a client CA has expired and is not trusted"
                );
                expired.get_or_insert(TlsError::Expired {
                    path,
                    subject: identity.subject().to_owned(),
                    ago,
                });
                continue;
            }
            anchors.add(&path, &der, &identity)?;
        }
        match (anchors.trusted.is_empty(), expired) {
            (true, Some(error)) => Err(error),
            (true, None) => Err(TlsError::NoCertificate {
                path: cas.paths.first().cloned().unwrap_or_default(),
            }),
            (false, _) => Ok(anchors),
        }
    }

    fn add(
        &mut self,
        path: &Path,
        der: &CertificateDer<'_>,
        identity: &PeerIdentity,
    ) -> Result<(), TlsError> {
        let anchor = anchor_from_trusted_cert(der).map_err(|error| TlsError::Anchor {
            path: path.to_owned(),
            subject: identity.subject().to_owned(),
            reason: error.to_string(),
        })?;
        self.hints
            .push(DistinguishedName::in_sequence(&anchor.subject));
        self.trusted.push(anchor.to_owned());
        self.shared.push(Arc::new(anchor.to_owned()));
        self.subjects.push(identity.subject().into());
        self.expiries.push(Expiry::new("client_ca", identity));
        Ok(())
    }

    /// One of the trusted, to keep.
    pub(super) fn keep(&self, anchor: &TrustAnchor<'_>) -> Arc<TrustAnchor<'static>> {
        let at = self.trusted.iter().position(|one| one == anchor);
        let known = at.and_then(|at| self.shared.get(at));
        known.map_or_else(|| Arc::new(anchor.to_owned()), Arc::clone)
    }

    pub(super) fn contains(&self, anchor: &TrustAnchor<'_>) -> bool {
        self.trusted.iter().any(|known| {
            known.subject == anchor.subject
                && known.subject_public_key_info == anchor.subject_public_key_info
                && known.name_constraints == anchor.name_constraints
        })
    }
}
